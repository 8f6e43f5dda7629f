/** Memory that is registered with a userfaultfd: faults wait until a monitor has answered them. */
import { errno, isErr } from '../../base/errno.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import {
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
  userfaultfdRegister,
  userfaultfdUnregister,
  userfaultfdWriteprotect,
} from '../../mm/userfaultfd-register.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { Monitor } from '../monitor.ts';
import { pickRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import type { World } from '../world.ts';
import { pickQuietRange } from './layout.ts';

const MOST_PAGES = 8;
const MISSING = UFFDIO_REGISTER_MODE_MISSING;
const WP = UFFDIO_REGISTER_MODE_WP;

/** What is not mapped, or not all of it, can't be registered. */
function startRegister(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null) return;
  const { process, first, count } = range;
  const mode = dice.pick([MISSING, WP, MISSING | WP]);
  const monitor = (process.monitor ??= new Monitor(world, process.mm));
  world.isMonitored = true;
  process.changing++;
  world.begin('register', async () => {
    const [start, length] = [arenaAddress(first), count * PAGE_SIZE];
    const status = await userfaultfdRegister(monitor.ctx, start, length, mode);
    await monitor.dropIfClosed(start, length);
    process.changing--;
    world.log?.(`register ${range.toString()} in mode ${mode} ends with ${status}`);
    if (isErr(status)) {
      const { EINVAL, EBUSY, ENOMEM } = errno;
      world.expectStatus('register', status, [EINVAL, EBUSY, ENOMEM, ...world.excuses()]);
    }
  });
}

function startUnregister(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null || range.process.monitor === null) return;
  const { process, first, count } = range;
  const { ctx } = range.process.monitor;
  process.changing++;
  world.begin('unregister', async () => {
    const status = await userfaultfdUnregister(ctx, arenaAddress(first), count * PAGE_SIZE);
    process.changing--;
    world.log?.(`unregister ${range.toString()} ends with ${status}`);
    const { EINVAL, ENOMEM } = errno;
    world.expectStatus('unregister', status, [0, EINVAL, ENOMEM, ...world.excuses()]);
  });
}

function startProtect(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  const ctx = range?.process.monitor?.ctx;
  if (range === null || ctx === undefined) return;
  world.begin('protect', async () => {
    const [start, length] = [arenaAddress(range.first), range.count * PAGE_SIZE];
    const mode = UFFDIO_WRITEPROTECT_MODE_WP;
    const status = await userfaultfdWriteprotect(ctx, start, length, mode);
    world.log?.(`protect ${range.toString()} ends with ${status}`);
    const refusals = [errno.ENOENT, errno.EAGAIN, errno.ESRCH];
    world.expectStatus('protect', status, [0, ...refusals, ...world.excuses()]);
  });
}

/** A monitor that goes leaves ordinary memory. */
function startCloseMonitor(world: World, dice: Dice): void {
  const process = world.pickProcess(dice);
  if (process === null || process.monitor === null || process.changing > 0) return;
  const { monitor } = process;
  process.monitor = null;
  process.changing++;
  world.begin('closeMonitor', async () => {
    await monitor.close();
    process.changing--;
  });
}

function startAnswer(world: World, dice: Dice): void {
  dice.pick(world.processes)?.monitor?.answerOne();
}

/** See the file header. */
export const MONITOR_OPERATIONS: readonly Operation[] = [
  { name: 'register', weight: 0.6, isTask: true, isFault: true, start: startRegister },
  { name: 'unregister', weight: 0.2, isTask: true, start: startUnregister },
  { name: 'protect', weight: 0.6, isTask: true, start: startProtect },
  { name: 'closeMonitor', weight: 0.1, isTask: true, start: startCloseMonitor },
  { name: 'answer', weight: 3, isVital: true, start: startAnswer },
];
