/*
 * A row for every call of KernelApi: where its arguments come from, and which refusals may come
 * after part of the work was done. Adding a call to KernelApi without a row here does not compile.
 */
import { errno } from '../../src/base/errno.ts';
import { PAGE_SIZE, isAddress, isPageAligned } from '../../src/base/units.ts';
import { FOLL_FAST_ONLY, FOLL_LONGTERM, FOLL_NOFAULT, FOLL_WRITE } from '../../src/mm/gup.ts';
import type { DmirrorCommand, KernelApi } from '../../src/worker/protocol.ts';
import type { UffdOp } from '../../src/worker/protocol-uffd.ts';
import type { Pool } from './pool.ts';

export interface Call {
  /** Arguments, any of which may be hostile. */
  readonly args: (pool: Pool) => unknown[];
  /** True for a refusal that Linux, too, answers after it has changed something. */
  readonly isPartial?: (args: readonly unknown[], status: number, pool: Pool) => boolean;
  /** Ends what its first argument names: the same again is refused with this. */
  readonly ends?: number;
  /** Ends the machine: not among the calls that are drawn at random. */
  readonly isFinal?: boolean;
}

/** What the errno says, whatever else has happened before. */
const after =
  (...codes: readonly number[]) =>
  (_args: readonly unknown[], status: number): boolean =>
    codes.includes(status);

const PROT = 7;
const MAP_BITS = [0x22, 0x22, 0x21, 0x02, 0x01, 0x32, 0x100022, 0x23, 0, 0x8022];

/** Every MADV_* of asm-generic/mman-common.h. */
const ADVICE: readonly number[] = [
  0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102, 103,
];

const FOLL_FLAGS = [
  FOLL_WRITE,
  FOLL_WRITE | FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_FAST_ONLY | FOLL_LONGTERM,
];

/** The commands of a test device. */
const COMMANDS: Readonly<Record<DmirrorCommand, true>> = {
  READ: true,
  WRITE: true,
  MIGRATE_TO_DEV: true,
  MIGRATE_TO_SYS: true,
  SNAPSHOT: true,
  EXCLUSIVE: true,
  CHECK_EXCLUSIVE: true,
  RELEASE: true,
  FLAGS: true,
  READ_UNLOCKED: true,
  ADD: true,
};

const UFFD_OPS: Readonly<Record<UffdOp, true>> = {
  REGISTER: true,
  UNREGISTER: true,
  WAKE: true,
  COPY: true,
  ZEROPAGE: true,
  POISON: true,
  WRITEPROTECT: true,
};

function mmapRequest(pool: Pool): unknown {
  return pool.or(() => ({
    ...(pool.random.chance(0.4) ? { addr: pool.addr() } : {}),
    length: pool.length(),
    prot: pool.bits(PROT),
    ...(pool.random.chance(0.6) ? { flags: pool.oneOf(...MAP_BITS) } : {}),
    ...(pool.random.chance(0.3) ? { fd: pool.fileFd() } : {}),
    ...(pool.random.chance(0.1) ? { shmem: pool.fileFd() } : {}),
    ...(pool.random.chance(0.3) ? { offset: pool.oneOf(0, PAGE_SIZE, 2 * PAGE_SIZE) } : {}),
  }));
}

function gupRequest(pool: Pool): unknown {
  return pool.or(() => ({
    addr: pool.addr(),
    npages: pool.npages(),
    ...(pool.random.chance(0.7) ? { flags: pool.oneOf(0, ...FOLL_FLAGS) } : {}),
    ...(pool.random.chance(0.5) ? { pin: pool.oneOf(false, true) } : {}),
    ...(pool.random.chance(0.5) ? { fast: pool.oneOf(false, true) } : {}),
  }));
}

function processVmRange(pool: Pool): unknown {
  return pool.or(() => ({ local: pool.addr(), remote: pool.addr(), length: pool.length() }));
}

interface AnyRequest {
  readonly addr?: unknown;
  readonly ptr?: unknown;
  readonly npages?: unknown;
  readonly src?: unknown;
}

/** A command whose arguments are well formed works on page after page until one refuses. */
function isRunCommand(args: readonly unknown[]): boolean {
  const [, command, request] = args;
  if (typeof command !== 'string' || !Object.hasOwn(COMMANDS, command)) return false;
  if (typeof request !== 'object' || request === null) return false;
  const { addr, ptr, npages } = request as AnyRequest;
  const numbers = [addr, ptr, npages].every((value) => isAddress(value as number));
  return numbers && isPageAligned(addr as number) && (npages as number) > 0;
}

/** COPY reads its source first, which faults it in. */
function hasReadSource(args: readonly unknown[]): boolean {
  const request = args[1] as AnyRequest | null | undefined;
  return isAddress(request?.src as number);
}

export const CALLS: { readonly [K in keyof KernelApi]: Call } = {
  report: { args: () => [] },
  counters: { args: () => [] },
  liveFaultLatency: { args: () => [] },
  liveCounters: { args: () => [] },
  spawn: { args: (pool) => [pool.or(() => 0)] },
  // Out of memory on the way, the parent is left write-protected, as in Linux.
  fork: { args: (pool) => [pool.pid()], isPartial: after(errno.ENOMEM) },
  exit: { args: (pool) => [pool.pid()], ends: errno.ESRCH },
  mmap: { args: (pool) => [pool.pid(), mmapRequest(pool)] },
  munmap: { args: (pool) => [pool.pid(), pool.addr(), pool.length()] },
  mprotect: {
    args: (pool) => [pool.pid(), pool.addr(), pool.length(), pool.bits(PROT)],
    // What lies below the first gap is changed.
    isPartial: after(errno.ENOMEM),
  },
  mremap: {
    args: (pool) => [
      pool.pid(),
      pool.addr(),
      pool.length(),
      pool.length(),
      pool.bits(7),
      pool.addr(),
    ],
    // Where the target is given, what was there is unmapped first.
    isPartial: (args, status) =>
      [2, 3, 6, 7].includes(args[4] as number) && status === errno.ENOMEM,
  },
  madvise: {
    args: (pool) => [pool.pid(), pool.addr(), pool.length(), pool.oneOf(...ADVICE)],
    // VMA after VMA, until one refuses; holes are told in the end.
    isPartial: (args) => ADVICE.includes(args[3] as number) && isAddress(args[1] as number),
  },
  shmemCreate: { args: (pool) => [pool.length()] },
  tmpfile: { args: (pool) => [pool.length()] },
  pread: { args: (pool) => [pool.fileFd(), pool.length(), pool.length()] },
  pwrite: { args: (pool) => [pool.fileFd(), pool.bytes(), pool.length()] },
  ftruncate: { args: (pool) => [pool.fileFd(), pool.length()] },
  fallocate: {
    args: (pool) => [pool.fileFd(), pool.bits(3), pool.length(), pool.length()],
  },
  fstat: { args: (pool) => [pool.fd()] },
  closeFile: {
    args: (pool) => [pool.random.chance(0.2) ? pool.fileFd() : pool.fd()],
    ends: errno.EBADF,
  },
  read: { args: (pool) => [pool.pid(), pool.addr(), pool.length()] },
  write: { args: (pool) => [pool.pid(), pool.addr(), pool.bytes()] },
  touch: { args: (pool) => [pool.pid(), pool.addr(), pool.oneOf('read', 'write')] },
  pageMap: { args: (pool) => [pool.pid(), pool.addr(), pool.npages()] },
  openDevice: { args: (pool) => [pool.pid(), pool.oneOf(0, 1, 2)] },
  closeDevice: {
    args: (pool) => [pool.random.chance(0.2) ? pool.deviceFd() : pool.fd()],
    ends: errno.EBADF,
  },
  // None that there is: whoever calls it then would wait for the resume.
  suspendDevice: {
    args: (pool) => [[-1, 99, 0.5, Number.NaN, '0', null, {}, 2 ** 40][pool.random.below(8)]],
  },
  resumeDevice: { args: (pool) => [pool.or(() => pool.oneOf(0, 1, 2))] },
  ioctl: {
    args: (pool) => [
      pool.deviceFd(),
      pool.oneOf(...Object.keys(COMMANDS)),
      pool.or(() => ({ addr: pool.addr(), ptr: pool.addr(), npages: pool.npages() })),
    ],
    isPartial: isRunCommand,
  },
  compileKernel: {
    args: (pool) => [
      pool.deviceFd(),
      pool.or(() => ({
        ...(pool.random.chance(0.7) ? { shape: pool.oneOf('swap', 'stencil', 'chase') } : {}),
        ...(pool.random.chance(0.2) ? { wgsl: pool.or(() => 'fn kernel() {}') } : {}),
        ...(pool.random.chance(0.3) ? { window: pool.oneOf(0, 1, 4096, 4097) } : {}),
        ...(pool.random.chance(0.2) ? { ringRecords: pool.length() } : {}),
      })),
    ],
  },
  releaseKernel: { args: (pool) => [pool.or(() => pool.kernelHandle())], ends: errno.EBADF },
  launchKernel: {
    args: (pool) => [
      pool.deviceFd(),
      pool.or(() => pool.kernelHandle()),
      pool.or(() => ({
        workgroups: pool.oneOf(1, 2, 0),
        args: pool.or(() => [pool.addr(), pool.addr(), pool.addr()]),
        ...(pool.random.chance(0.2) ? { origin: pool.addr() } : {}),
        ...(pool.random.chance(0.2) ? { budget: pool.length() } : {}),
        ...(pool.random.chance(0.1) ? { control: pool.or(() => 0) } : {}),
      })),
    ],
    // A device that is lost shows when pages were to come.
    isPartial: after(errno.ENODEV),
  },
  mincore: { args: (pool) => [pool.pid(), pool.addr(), pool.length()] },
  pagemap: { args: (pool) => [pool.pid(), pool.addr(), pool.npages()] },
  smaps: { args: (pool) => [pool.pid()] },
  clearRefs: { args: (pool) => [pool.pid(), pool.oneOf(0, 1, 2, 3, 4, 5, Number.NaN)] },
  // Seldom of a process that is there: nothing can be done with it afterwards.
  oomReap: {
    args: (pool) => [pool.random.chance(0.04) ? pool.pid() : pool.oneOf(0, 2 ** 31)],
    isPartial: after(errno.EAGAIN),
  },
  poison: {
    // Seldom where something is: what is broken stays broken.
    args: (pool) => [pool.pid(), pool.random.chance(0.04) ? pool.addr() : pool.oneOf(1, 2 ** 46)],
    // The page is faulted in before it is broken.
    isPartial: (args) => isAddress(args[1] as number),
  },
  gup: {
    args: (pool) => [pool.pid(), gupRequest(pool)],
    // Pages that are to be pinned for long leave the device first.
    isPartial: after(errno.ENOMEM, errno.EBUSY),
  },
  gupRelease: { args: (pool) => [pool.or(() => pool.gupHandle())], ends: errno.EBADF },
  processVmReadv: {
    args: (pool) => [pool.pid(), pool.pid(), processVmRange(pool)],
    // One side was there.
    isPartial: after(errno.EFAULT),
  },
  processVmWritev: {
    args: (pool) => [pool.pid(), pool.pid(), processVmRange(pool)],
    isPartial: after(errno.EFAULT),
  },
  // A fault that fails for want of memory may leave the object's page in its cache, as in Linux.
  procMemRead: {
    args: (pool) => [pool.pid(), pool.addr(), pool.length()],
    isPartial: after(errno.EIO),
  },
  procMemWrite: {
    args: (pool) => [pool.pid(), pool.addr(), pool.bytes()],
    isPartial: after(errno.EIO),
  },
  userfaultfd: { args: (pool) => [pool.pid(), pool.bits(0xffff)] },
  uffdRead: { args: (pool) => [pool.uffdFd(), pool.random.chance(0.9)] },
  uffdIoctl: {
    args: (pool) => [
      pool.uffdFd(),
      pool.or(() => ({
        op: pool.oneOf(...Object.keys(UFFD_OPS)),
        start: pool.addr(),
        length: pool.length(),
        ...(pool.random.chance(0.5) ? { mode: pool.bits(3) } : {}),
        ...(pool.random.chance(0.5) ? { src: pool.addr() } : {}),
      })),
    ],
    isPartial: hasReadSource,
  },
  closeUserfaultfd: {
    args: (pool) => [pool.random.chance(0.2) ? pool.uffdFd() : pool.fd()],
    ends: errno.EBADF,
  },
  // Of the host's; without a port no core can be started.
  attachHost: { args: (pool) => [pool.or(() => null)] },
  startCore: { args: (pool) => [pool.pid(), null] },
  signalCore: { args: (pool) => [pool.or(() => 0), pool.or(() => 9)] },
  endCore: { args: (pool) => [pool.or(() => 0)] },
  traceStart: { args: (pool) => [pool.or(() => null), { kinds: 127, capacity: pool.length() }] },
  traceStop: { args: (pool) => [pool.or(() => 1)] },
  setStrategy: { args: (pool) => [pool.oneOf('auto', 'cpu', 'runs', 'staging')] },
  loseDevice: { args: () => [], isFinal: true },
  close: { args: () => [], isFinal: true },
};
