/** Commands of the test devices, and opening and closing them. */
import { errno } from '../../base/errno.ts';
import { WORDS_PER_PAGE } from '../../base/units.ts';
import {
  Dmirror,
  HMM_DMIRROR_FLAGS,
  HMM_DMIRROR_FLAG_FAIL_ALLOC,
  HMM_DMIRROR_MIGRATE_TO_DEV,
  HMM_DMIRROR_MIGRATE_TO_SYS,
  HMM_DMIRROR_READ,
  HMM_DMIRROR_SNAPSHOT,
  HMM_DMIRROR_WRITE,
  WEBHMM_DMIRROR_ADD,
  newDmirrorCmd,
} from '../../driver/dmirror.ts';
import { PROT_WRITE } from '../../mm/mm-types.ts';
import { copyFromUser, copyToUser } from '../../mm/uaccess.ts';
import { BUFFER_PAGES, DEVICES, arenaAddress, bufferAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { ACCESS_DENIALS, checkAnswer, deviceMay, pickRange } from '../operation.ts';
import type { Operation, SimRange } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import type { SimProcess } from '../process.ts';
import { SLOTS } from '../shadow.ts';
import type { Reader } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';
import { pagesOf } from './cpu.ts';

/** The mirror of a process on a device, opened on first use; null when that can't be. */
export function openMirror(world: World, process: SimProcess, minor: number): Dmirror | null {
  const open = process.mirrors[minor];
  if (open) return open;
  const mirror = Dmirror.open(world.devices[minor]!.device, process.mm);
  if (typeof mirror === 'number') return violated(`open of a living process answers ${mirror}`);
  process.mirrors[minor] = mirror;
  return mirror;
}

/** A range and the open device that works on it. */
export interface DeviceRange {
  readonly range: SimRange;
  readonly mirror: Dmirror;
}

/** A random range of a process and a device that it has open. */
export function pickDeviceRange(world: World, dice: Dice): DeviceRange | null {
  const range = pickRange(world, dice, BUFFER_PAGES);
  const minor = dice.below(world.devices.length);
  if (range === null) return null;
  const mirror = openMirror(world, range.process, minor);
  return mirror === null ? null : { range, mirror };
}

/** Runs a command on the range. */
export function command(
  code: number,
  { range, mirror }: DeviceRange,
  ptr: number,
): Promise<number> {
  return mirror.ioctl(code, newDmirrorCmd(arenaAddress(range.first), range.count, ptr));
}

/** Operations that pin pages. */
const PINNING = ['pin', 'pinLongterm', 'remoteRead', 'remoteWrite', 'readv', 'writev'];

/** A file that was closed meanwhile refuses; so does memory that is pinned, to be lent. */
export function closedOrPinned(
  world: World,
  target: DeviceRange,
  isWrite: boolean,
  status: number,
): boolean {
  if (status === errno.EINVAL) return !target.mirror['isOpen'];
  // A debugger pins what it looks at, for a moment.
  const pins = PINNING.some((name) => (world.tally[name] ?? 0) > 0);
  return isWrite && status === errno.EBUSY && pins;
}

/** Checks the answer of an access. */
export function checkAccess(
  world: World,
  what: string,
  target: DeviceRange,
  status: number,
  isWrite: boolean,
): void {
  if (closedOrPinned(world, target, isWrite, status)) return;
  const { states } = target.range;
  // Exclusive access to a write-only page is had without PROT_READ, and then reads as well.
  if (status === 0 && states.some(({ prot }) => prot === PROT_WRITE)) return;
  const may = states.every((state) => deviceMay(state, isWrite));
  checkAnswer(world, what, target.range, status, may, ACCESS_DENIALS);
}

/** Everything that the range may be read as from now on. */
function watchRange(range: SimRange): (Reader | null)[] {
  return range.states.map(({ content }) => content?.watch() ?? null);
}

/** Compares what the device read with what it may have read. */
async function checkBuffer(
  world: World,
  range: SimRange,
  readers: readonly (Reader | null)[],
  task: number,
): Promise<void> {
  const bytes = new Uint8Array(range.count * WORDS_PER_PAGE * 4);
  const left = await copyFromUser(range.process.mm, bufferAddress(task), bytes);
  if (left !== 0) return;
  const words = new Uint32Array(bytes.buffer);
  readers.forEach((reader, i) => {
    if (reader === null || !range.isUnchanged(i)) return;
    SLOTS.forEach((at, slot) => {
      const value = words[i * WORDS_PER_PAGE + at]!;
      world.note(value);
      const seen = reader.seen[slot]!;
      if (seen === null || seen.includes(value)) return;
      const could = seen.map((one) => one.toString(16)).join(' or ');
      violated(
        `a device reads ${value.toString(16)} from page ${range.first + i} slot ${slot} of ` +
          `process ${range.process.slot}, which held ${could}`,
      );
    });
  });
}

/** READ, and MIGRATE_TO_DEV with a buffer, which reads the range afterwards. */
function startRead(world: World, dice: Dice, name: string, code: number): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  const { range } = target;
  world.begin(name, async (task) => {
    const contents = range.states.map(({ content }) => content);
    const readers = watchRange(range);
    const status = await command(code, target, bufferAddress(task));
    // Stability covers a range that was changing when the read began, too.
    if (status === 0 && range.isStable) await checkBuffer(world, range, readers, task);
    readers.forEach((reader, i) => {
      if (reader !== null) contents[i]!.unwatch(reader);
    });
    if (code === HMM_DMIRROR_READ) checkAccess(world, name, target, status, false);
    else checkMigration(world, name, target, status);
  });
}

function startWrite(world: World, dice: Dice): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  const { range } = target;
  const { process } = range;
  const base = world.newValue();
  const valueAt = (page: number, slot: number): number => (base + page * SLOTS.length + slot) >>> 0;
  const write = new RangeWrite(false, range.first, range.count, valueAt);
  world.begin('write', async (task) => {
    const source = pagesOf(range.count, valueAt);
    const left = await copyToUser(process.mm, bufferAddress(task), source);
    if (left !== 0) return;
    await runWrite(world, target, write, HMM_DMIRROR_WRITE, bufferAddress(task));
  });
}

function startAdd(world: World, dice: Dice): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  const { range } = target;
  const operand = world.newValue();
  const write = new RangeWrite(true, range.first, range.count, () => operand);
  world.begin('add', () => runWrite(world, target, write, WEBHMM_DMIRROR_ADD, operand));
}

/** A device that fails in the middle of a write leaves anything behind. */
export function isWreckage(status: number): boolean {
  return status === errno.EIO || status === errno.ENODEV;
}

async function runWrite(
  world: World,
  target: DeviceRange,
  write: RangeWrite,
  code: number,
  ptr: number,
): Promise<void> {
  const { process } = target.range;
  process.beginWrite(write);
  const status = await command(code, target, ptr);
  process.endWrite(write, status === 0, isWreckage(status));
  checkAccess(world, write.isAdd ? 'add' : 'write', target, status, true);
}

/** Pages that can't go stay behind: only a range that is not mapped is an error. */
export function checkMigration(
  world: World,
  name: string,
  target: DeviceRange,
  status: number,
): void {
  const { range } = target;
  const may = range.states.every(({ prot }) => prot >= 0 && (prot & 1) !== 0);
  if (status === errno.ENOENT || closedOrPinned(world, target, false, status)) return;
  checkAnswer(world, name, range, status, may, [errno.EINVAL]);
}

function startMigrate(world: World, dice: Dice, name: string, code: number): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  world.begin(name, async () => {
    checkMigration(world, name, target, await command(code, target, 0));
  });
}

function startSnapshot(world: World, dice: Dice): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  world.begin('snapshot', async (task) => {
    const status = await command(HMM_DMIRROR_SNAPSHOT, target, bufferAddress(task));
    if (closedOrPinned(world, target, false, status)) return;
    checkAnswer(world, 'snapshot', target.range, status, true, []);
  });
}

function startRelease(world: World, dice: Dice): void {
  const { device } = dice.pick(world.devices);
  world.begin('release', async () => {
    const status = await device.releaseChunks();
    world.log?.(`release ${device.minor} ends with ${status}`);
    // Pages of coherent memory can be pinned, and then stay.
    const pinned = device.minor >= DEVICES ? [errno.EBUSY] : [];
    world.expectStatus('release', status, [0, ...pinned, ...world.excuses()]);
  });
}

function startFailDeviceAlloc(world: World, dice: Dice): void {
  const process = world.pickProcess(dice);
  if (process === null) return;
  const mirror = openMirror(world, process, dice.below(world.devices.length));
  if (mirror === null) return;
  world.memoryFailed = true;
  world.begin('failDeviceAlloc', async () => {
    const cmd = newDmirrorCmd(0, HMM_DMIRROR_FLAG_FAIL_ALLOC, 0);
    const status = await mirror.ioctl(HMM_DMIRROR_FLAGS, cmd);
    world.expectStatus('flags', status, mirror['isOpen'] ? [0] : [0, errno.EINVAL]);
  });
}

function startClose(world: World, dice: Dice): void {
  const process = world.pickProcess(dice);
  const minor = dice.below(world.devices.length);
  const mirror = process?.mirrors[minor] ?? null;
  if (process === null || mirror === null) return;
  process.mirrors[minor] = null;
  world.begin('close', () => mirror.close());
}

/** See the file header. */
export const DEVICE_OPERATIONS: readonly Operation[] = [
  {
    name: 'migrateToDevice',
    weight: 5,
    isTask: true,
    start: (world, dice) =>
      startMigrate(world, dice, 'migrateToDevice', HMM_DMIRROR_MIGRATE_TO_DEV),
  },
  {
    name: 'migrateAndRead',
    weight: 1,
    isTask: true,
    start: (world, dice) => startRead(world, dice, 'migrateAndRead', HMM_DMIRROR_MIGRATE_TO_DEV),
  },
  {
    name: 'migrateToSystem',
    weight: 1,
    isTask: true,
    start: (world, dice) =>
      startMigrate(world, dice, 'migrateToSystem', HMM_DMIRROR_MIGRATE_TO_SYS),
  },
  {
    name: 'read',
    weight: 2,
    isTask: true,
    start: (world, dice) => startRead(world, dice, 'read', HMM_DMIRROR_READ),
  },
  { name: 'write', weight: 2, isTask: true, start: startWrite },
  { name: 'add', weight: 2, isTask: true, start: startAdd },
  { name: 'snapshot', weight: 0.5, isTask: true, start: startSnapshot },
  { name: 'release', weight: 0.2, isTask: true, start: startRelease },
  {
    name: 'failDeviceAlloc',
    weight: 0.1,
    isTask: true,
    isFault: true,
    start: startFailDeviceAlloc,
  },
  { name: 'close', weight: 0.2, isTask: true, start: startClose },
];
