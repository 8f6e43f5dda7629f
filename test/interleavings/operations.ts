/*
 * What races in the tests of interleavings, and what each may do to the first words of the range.
 */
import { expect } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../src/base/units.ts';
import { Process } from '../../src/index.ts';
import { MADV_DONTNEED } from '../../src/mm/madvise.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../src/mm/mmu-notifier.ts';
import type { MmuIntervalNotifierOps } from '../../src/mm/mmu-notifier.ts';
import { BUFFER, ELSEWHERE, RANGE } from './world.ts';
import type { World } from './world.ts';

/** Added to every word by the device. */
export const OPERAND = 1000;
/** Stored by the CPU. */
export const STORED = 77;

/** What has happened, for the check at the end. */
export class Outcome {
  /** Commands ADD that were done, and those that were refused half way. */
  added = 0;
  brokenAdds = 0;
  /** Sampled pages that the CPU stored to. */
  readonly stored = new Set<number>();
  isGone = false;
  isMoved = false;
  isDropped = false;
  isLost = false;
  isExited = false;
  isProtected = false;

  /** Whether an access may have been refused. */
  get mayFail(): boolean {
    return this.isGone || this.isLost || this.isExited || this.isProtected;
  }

  readonly children: Process[] = [];
}

export type Operation = (world: World, outcome: Outcome) => Promise<void>;

/** Refusals that a race may lead to. */
const RACED = [
  0,
  errno.EPERM,
  errno.ENOENT,
  errno.EINVAL,
  errno.EFAULT,
  errno.EBUSY,
  errno.EBADF,
  errno.ESRCH,
];
const LOST = [errno.ENODEV, errno.EIO, errno.ENOMEM];

async function command(
  world: World,
  outcome: Outcome,
  device: number,
  name: 'MIGRATE_TO_DEV' | 'MIGRATE_TO_SYS' | 'RELEASE' | 'ADD' | 'READ' | 'EXCLUSIVE',
  part: 'all' | 'upper' = 'all',
): Promise<number> {
  const skip = part === 'all' ? 0 : world.npages / 2;
  const npages = name === 'READ' ? Math.min(4, world.npages - skip) : world.npages - skip;
  const ptr = name === 'ADD' ? OPERAND : name === 'READ' ? BUFFER : 0;
  const { fd } = world.devices[device]!;
  const request = { addr: RANGE + skip * PAGE_SIZE, ptr, npages };
  const { errno: status } = await world.machine.kernel.ioctl(fd, name, request);
  const allowed = outcome.isLost || world.hoard.length > 0 ? [...RACED, ...LOST] : RACED;
  expect(allowed, name).toContain(status);
  return status;
}

async function add(world: World, outcome: Outcome, device: number): Promise<void> {
  const status = await command(world, outcome, device, 'ADD');
  if (status === 0) outcome.added++;
  else outcome.brokenAdds++;
}

/** Loads of every sampled page at once; what they see is checked at the end of the run. */
async function loads(world: World): Promise<void> {
  await world.words(world.process);
}

async function store(world: World, outcome: Outcome, page: number): Promise<void> {
  const { kernel } = world.machine;
  const bytes = new Uint8Array(Uint32Array.of(STORED).buffer);
  const addr = RANGE + page * PAGE_SIZE;
  const result = await kernel.write(world.process.pid, addr, bytes);
  if (result.errno === 0 && result.outcome === 0) outcome.stored.add(page);
  else expect(outcome.mayFail, 'a store that fails').toBe(true);
}

/** A subscription that begins and ends while others invalidate, and starts another one then. */
async function subscribe(world: World): Promise<void> {
  const inner = newMmuIntervalNotifier(null);
  const outer = newMmuIntervalNotifier(null);
  const innerOps: MmuIntervalNotifierOps = {
    invalidate: (sub, _range, seq) => {
      mmuIntervalSetSeq(sub, seq);
      return true;
    },
  };
  const outerOps: MmuIntervalNotifierOps = {
    invalidate: (sub, range, seq) => {
      mmuIntervalSetSeq(sub, seq);
      if (inner.mm === null && world.mm.users > 0) {
        mmuIntervalNotifierInsert(inner, world.mm, 0, TASK_SIZE, innerOps);
      }
      return range.blockable;
    },
  };
  if (mmuIntervalNotifierInsert(outer, world.mm, RANGE, PAGE_SIZE, outerOps) !== 0) return;
  await mmuIntervalReadBegin(outer);
  await world.scheduler.schedule(Promise.resolve(), 'subscription ends');
  await mmuIntervalNotifierRemove(outer);
  if (inner.mm !== null) await mmuIntervalNotifierRemove(inner);
}

async function protect(world: World, outcome: Outcome): Promise<void> {
  outcome.isProtected = true;
  const { kernel } = world.machine;
  const { pid } = world.process;
  const length = world.npages * PAGE_SIZE;
  // The range may be gone.
  for (const prot of [1, 3]) {
    const status = await kernel.mprotect(pid, RANGE, length, prot);
    expect([0, errno.ENOMEM, errno.ESRCH]).toContain(status);
    await world.scheduler.schedule(Promise.resolve(), 'mprotect');
  }
}

async function gone(outcome: Outcome, call: () => Promise<number>): Promise<number> {
  outcome.isGone = true;
  const result = await call();
  expect([0, errno.ESRCH, errno.EFAULT, ELSEWHERE]).toContain(result);
  return result;
}

export const OPERATIONS = {
  loads,
  store0: (world, outcome) => store(world, outcome, 0),
  store1: (world, outcome) => store(world, outcome, world.isHuge ? 255 : 1),
  toDevice: async (world, outcome) => void (await command(world, outcome, 0, 'MIGRATE_TO_DEV')),
  toOther: async (world, outcome) => void (await command(world, outcome, 1, 'MIGRATE_TO_DEV')),
  upperToDevice: async (world, outcome) =>
    void (await command(world, outcome, 2, 'MIGRATE_TO_DEV', 'upper')),
  home: async (world, outcome) => void (await command(world, outcome, 0, 'MIGRATE_TO_SYS')),
  upperHome: async (world, outcome) =>
    void (await command(world, outcome, 2, 'MIGRATE_TO_SYS', 'upper')),
  evict: async (world, outcome) => void (await command(world, outcome, 0, 'RELEASE')),
  evictOther: async (world, outcome) => void (await command(world, outcome, 1, 'RELEASE')),
  read: async (world, outcome) => void (await command(world, outcome, 0, 'READ')),
  readOther: async (world, outcome) => void (await command(world, outcome, 1, 'READ')),
  add: (world, outcome) => add(world, outcome, 0),
  addOther: (world, outcome) => add(world, outcome, 1),
  addAgain: (world, outcome) => add(world, outcome, 2),
  exclusive: async (world, outcome) => void (await command(world, outcome, 0, 'EXCLUSIVE')),
  subscribe,
  protect,
  dontneed: async (world, outcome) => {
    outcome.isDropped = true;
    const length = world.npages * PAGE_SIZE;
    const { pid } = world.process;
    const status = await world.machine.kernel.madvise(pid, RANGE, length, MADV_DONTNEED);
    expect([0, errno.ENOMEM, errno.ESRCH]).toContain(status);
  },
  munmap: async (world, outcome) => {
    const length = world.npages * PAGE_SIZE;
    const { kernel } = world.machine;
    await gone(outcome, () => kernel.munmap(world.process.pid, RANGE, length));
  },
  mremap: async (world, outcome) => {
    const length = world.npages * PAGE_SIZE;
    const { kernel } = world.machine;
    const flags = 3;
    const { pid } = world.process;
    const move = (): Promise<number> => kernel.mremap(pid, RANGE, length, length, flags, ELSEWHERE);
    if ((await gone(outcome, move)) === ELSEWHERE) outcome.isMoved = true;
  },
  fork: async (world, outcome) => {
    const pid = await world.machine.kernel.fork(world.process.pid);
    expect(pid === errno.ESRCH || pid > 0 || world.hoard.length > 0).toBe(true);
    if (pid > 0) outcome.children.push(new Process(world.machine, pid));
  },
  close: async (world) => {
    const status = await world.machine.kernel.closeDevice(world.devices[0]!.fd);
    expect([0, errno.EBADF]).toContain(status);
  },
  exit: async (world, outcome) => {
    outcome.isExited = true;
    outcome.isGone = true;
    await world.machine.kernel.exit(world.process.pid);
  },
} satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;
export const OPERATION_NAMES = Object.keys(OPERATIONS) as OperationName[];
