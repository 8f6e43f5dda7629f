/**
 * The queue side of userfaultfd (fs/userfaultfd.c): an address space hands the faults of ranges
 * that are registered with a `UserfaultfdCtx` to whoever reads it. The faulting access waits, with
 * the mmap lock dropped, until the monitor has put something there (userfaultfd.ts) and wakes it;
 * then it is tried again from the start.
 *
 * A fault is in one of two queues: pending until its message was read, then reported. Waking looks
 * at both.
 *
 * Locking: `handleUserfault` is called with the mmap lock held for read and gives it back when it
 * waits. Everything else here takes no lock and never waits, except `waitForMessage`.
 *
 * Leaves out: minor faults, the events FORK, REMAP, REMOVE and UNMAP, UFFD_USER_MODE_ONLY.
 */
import { isAddress, pageAlignDown } from '../base/units.ts';
import { VM_UFFD_MISSING, VM_UFFD_WP } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { LEAF_MARKER_UFFD_WP, PTE_UFFD_WP, leafKind } from './swapops.ts';

/** Features that UFFDIO_API can turn on; values of include/uapi/linux/userfaultfd.h. */
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
/** Missing pages of shared memory, too. */
export const UFFD_FEATURE_MISSING_SHMEM = 1 << 5;
/** Faults end in SIGBUS instead of a message. */
export const UFFD_FEATURE_SIGBUS = 1 << 7;
/** Messages hold the faulting byte, not its page. */
export const UFFD_FEATURE_EXACT_ADDRESS = 1 << 11;
/** Write protection of shared memory and huge pages, too. */
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;
/** Write-protection also covers anonymous pages that are not there yet. */
export const UFFD_FEATURE_WP_UNPOPULATED = 1 << 13;
/** UFFDIO_POISON. */
export const UFFD_FEATURE_POISON = 1 << 14;
/** Write faults resolve themselves; who wrote shows in the lost protection. */
export const UFFD_FEATURE_WP_ASYNC = 1 << 15;

const UFFD_API_FEATURES =
  UFFD_FEATURE_PAGEFAULT_FLAG_WP |
  UFFD_FEATURE_MISSING_SHMEM |
  UFFD_FEATURE_SIGBUS |
  UFFD_FEATURE_EXACT_ADDRESS |
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
  UFFD_FEATURE_WP_UNPOPULATED |
  UFFD_FEATURE_POISON |
  UFFD_FEATURE_WP_ASYNC;

/** The only kind of message: somebody faulted. */
export const UFFD_EVENT_PAGEFAULT = 0x12;
/** The access was a store. */
export const UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0;
/** A store to a page that is write-protected. */
export const UFFD_PAGEFAULT_FLAG_WP = 1 << 1;

/** What a monitor reads (struct uffd_msg). */
export interface UffdMsg {
  /** UFFD_EVENT_*. */
  readonly event: number;
  /** UFFD_PAGEFAULT_FLAG_* bits. */
  readonly flags: number;
  readonly address: number;
}

/** A fault that waits (struct userfaultfd_wait_queue). */
interface UserfaultWait {
  readonly msg: UffdMsg;
  readonly wake: () => void;
}

/** An open userfaultfd (struct userfaultfd_ctx). It serves the address space that made it. */
export class UserfaultfdCtx {
  readonly mm: MmStruct;
  /** UFFD_FEATURE_* bits. */
  readonly features: number;
  /** Set when the file was closed: nothing is read or registered any more. */
  isClosed = false;
  private pending: UserfaultWait[] = [];
  private reported: UserfaultWait[] = [];
  private readers: (() => void)[] = [];

  constructor(mm: MmStruct, features: number) {
    this.mm = mm;
    this.features = features;
  }

  /** Faults that wait, read or not. */
  get waiting(): number {
    return this.pending.length + this.reported.length;
  }

  /** True when a read would find a message (poll: EPOLLIN). */
  get isReadable(): boolean {
    return this.pending.length > 0;
  }

  /** Takes the oldest message, null when there is none (userfaultfd_ctx_read). */
  read(): UffdMsg | null {
    const wait = this.pending.shift();
    if (wait === undefined) return null;
    this.reported.push(wait);
    return wait.msg;
  }

  /** Resolves when there may be a message, or when the file is closed. */
  waitForMessage(): Promise<void> {
    return new Promise((resolve) => this.readers.push(resolve));
  }

  /** Queues a fault and tells the readers. Resolves when it is woken. */
  enqueue(msg: UffdMsg): Promise<void> {
    const woken = new Promise<void>((resolve) => this.pending.push({ msg, wake: resolve }));
    this.wakeReaders();
    return woken;
  }

  /** Lets the faults on [start, start + length) try again (wake_userfault). */
  wake(start: number, length: number): void {
    const end = start + length;
    const isHit = ({ msg }: UserfaultWait): boolean => msg.address >= start && msg.address < end;
    const woken = [...this.pending, ...this.reported].filter(isHit);
    this.pending = this.pending.filter((wait) => !isHit(wait));
    this.reported = this.reported.filter((wait) => !isHit(wait));
    for (const wait of woken) wait.wake();
  }

  /** Lets everybody go: all faults, all readers. */
  wakeAll(): void {
    this.wake(0, Number.MAX_SAFE_INTEGER);
    this.wakeReaders();
  }

  private wakeReaders(): void {
    const { readers } = this;
    this.readers = [];
    for (const resume of readers) resume();
  }
}

/** True when every bit is a feature that we have. */
export function isKnownUffdFeatures(features: number): boolean {
  // Bit operations would drop what lies above 32 bits.
  if (!isAddress(features) || features > UFFD_API_FEATURES) return false;
  return (features & ~UFFD_API_FEATURES) === 0;
}

/** True when faults on missing pages of the VMA go to a monitor (userfaultfd_missing). */
export function userfaultfdMissing(vma: Vma): boolean {
  return (vma.vmFlags & VM_UFFD_MISSING) !== 0;
}

/** True when the VMA is registered for write-protection (userfaultfd_wp). */
export function userfaultfdWp(vma: Vma): boolean {
  return (vma.vmFlags & VM_UFFD_WP) !== 0;
}

/** True when writes through the entry belong to a monitor (userfaultfd_pte_wp). */
export function userfaultfdPteWp(vma: Vma, pte: number): boolean {
  return userfaultfdWp(vma) && (pte & PTE_UFFD_WP) !== 0;
}

/** True when write faults of the VMA resolve themselves (userfaultfd_wp_async). */
export function userfaultfdWpAsync(vma: Vma): boolean {
  return vma.uffdCtx !== null && (vma.uffdCtx.features & UFFD_FEATURE_WP_ASYNC) !== 0;
}

/**
 * True when protecting a page that is not there leaves a marker (userfaultfd_wp_use_markers): an
 * object may have the page in its cache; anonymous memory only where the monitor asked for it.
 */
export function userfaultfdWpUseMarkers(vma: Vma): boolean {
  if (!userfaultfdWp(vma) || vma.uffdCtx === null) return false;
  if (vma.inode !== null) return true;
  const wanted = UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC;
  return (vma.uffdCtx.features & wanted) !== 0;
}

/** True for the marker of a protected page that is not there (pte_marker_uffd_wp). */
export function isUffdWpMarker(pte: number): boolean {
  return leafKind(pte) === LEAF_MARKER_UFFD_WP;
}

/**
 * Hands a fault to the monitor of its VMA (handle_userfault).
 *
 * @param address Faulting byte. @param reason VM_UFFD_MISSING or VM_UFFD_WP.
 * @param mayRetry Whether the caller can do with a dropped mmap lock (FAULT_FLAG_ALLOW_RETRY).
 * @returns null when the fault can't be handed over (SIGBUS), lock kept; else a promise that
 * resolves when the access is to be tried again, lock dropped.
 * Context: mmap lock held for read.
 */
export function handleUserfault(
  vma: Vma,
  address: number,
  isWrite: boolean,
  mayRetry: boolean,
  reason: number,
): Promise<void> | null {
  const ctx = vma.uffdCtx;
  if (ctx === null || !mayRetry || (ctx.features & UFFD_FEATURE_SIGBUS) !== 0) return null;
  const isExact = (ctx.features & UFFD_FEATURE_EXACT_ADDRESS) !== 0;
  const flags =
    (isWrite ? UFFD_PAGEFAULT_FLAG_WRITE : 0) |
    (reason === VM_UFFD_WP ? UFFD_PAGEFAULT_FLAG_WP : 0);
  const woken = ctx.enqueue({
    event: UFFD_EVENT_PAGEFAULT,
    flags,
    address: isExact ? address : pageAlignDown(address),
  });
  // Queued first: nobody can look at the page tables in between and wake nobody.
  vma.mm.mmapLock.readUnlock();
  return woken;
}
