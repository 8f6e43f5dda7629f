/** Commands on all that one PMD entry covers, half of the arena included. */
import { errno } from '../../base/errno.ts';
import { HPAGE_PMD_NR, PMD_SIZE } from '../../base/units.ts';
import {
  HMM_DMIRROR_MIGRATE_TO_DEV,
  HMM_DMIRROR_MIGRATE_TO_SYS,
  WEBHMM_DMIRROR_ADD,
  newDmirrorCmd,
} from '../../driver/dmirror.ts';
import { MADV_COLLAPSE, doMadvise } from '../../mm/madvise.ts';
import { ARENA_PAGES, ARENA_TABLES } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { SimRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import type { World } from '../world.ts';
import { checkAccess, checkMigration, isWreckage, openMirror } from './device.ts';
import type { DeviceRange } from './device.ts';

interface HugeRange extends DeviceRange {
  readonly addr: number;
}

/** One half of the arena of a process, with all that its page table maps. */
function pickHugeRange(world: World, dice: Dice): HugeRange | null {
  const process = world.config.isHuge ? world.pickProcess(dice) : null;
  if (process === null) return null;
  const half = dice.below(2);
  const range = new SimRange(process, (half * ARENA_PAGES) / 2, ARENA_PAGES / 2);
  const mirror = openMirror(world, process, dice.below(world.devices.length));
  return mirror === null ? null : { range, mirror, addr: ARENA_TABLES + half * PMD_SIZE };
}

function startMigrate(world: World, dice: Dice, name: string, code: number): void {
  const target = pickHugeRange(world, dice);
  if (target === null) return;
  world.begin(name, async () => {
    const status = await target.mirror.ioctl(code, newDmirrorCmd(target.addr, HPAGE_PMD_NR, 0));
    checkMigration(world, name, target, status);
  });
}

function startAdd(world: World, dice: Dice): void {
  const target = pickHugeRange(world, dice);
  if (target === null) return;
  const { range, mirror, addr } = target;
  const operand = world.newValue();
  const write = new RangeWrite(true, range.first, range.count, () => operand);
  world.begin('hugeAdd', async () => {
    range.process.beginWrite(write);
    const cmd = newDmirrorCmd(addr, HPAGE_PMD_NR, operand);
    const status = await mirror.ioctl(WEBHMM_DMIRROR_ADD, cmd);
    range.process.endWrite(write, status === 0, isWreckage(status));
    checkAccess(world, 'hugeAdd', target, status, true);
  });
}

/** MADV_COLLAPSE: the bytes stay, in fewer pages. */
function startCollapse(world: World, dice: Dice): void {
  const process = world.config.isHuge ? world.pickProcess(dice) : null;
  if (process === null) return;
  const addr = ARENA_TABLES + dice.below(2) * PMD_SIZE;
  world.begin('collapse', async () => {
    const status = await doMadvise(process.mm, addr, PMD_SIZE, MADV_COLLAPSE);
    // Most of it depends on all pages of the range, of which we know some.
    const { EINVAL, EAGAIN, EBUSY, ENOMEM, ESRCH } = errno;
    const refusals = [EINVAL, EAGAIN, EBUSY, ENOMEM, ...world.excuses()];
    if (process.isDying) refusals.push(ESRCH);
    world.log?.(`collapse ${process.slot} at ${addr} ends with ${status}`);
    if (status === 0) world.count('collapsed');
    world.expectStatus('collapse', status, [0, ...refusals]);
  });
}

/** Rows that go to the end of the table. */
export const COLLAPSE_OPERATIONS: readonly Operation[] = [
  { name: 'collapse', weight: 4, isTask: true, start: startCollapse },
];

/** See the file header. */
export const HUGE_OPERATIONS: readonly Operation[] = [
  {
    name: 'hugeToDevice',
    weight: 2,
    isTask: true,
    start: (world, dice) => startMigrate(world, dice, 'hugeToDevice', HMM_DMIRROR_MIGRATE_TO_DEV),
  },
  {
    name: 'hugeToSystem',
    weight: 0.5,
    isTask: true,
    start: (world, dice) => startMigrate(world, dice, 'hugeToSystem', HMM_DMIRROR_MIGRATE_TO_SYS),
  },
  { name: 'hugeAdd', weight: 0.5, isTask: true, start: startAdd },
];
