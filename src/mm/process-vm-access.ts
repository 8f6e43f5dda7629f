/**
 * process_vm_readv and process_vm_writev (mm/process_vm_access.c): one process copies to or from
 * the memory of another. The other side's pages are pinned a few at a time, which faults them in
 * (device pages come home), then copied to or from the caller's memory as any system call does.
 *
 * Locking: the other side's mmap lock is held for read while pages are pinned, and no lock during
 * the copy.
 *
 * Leaves out: vectors of several ranges, permission checks between processes.
 */
import { errno } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import { FOLL_REMOTE, FOLL_WRITE, pinUserPagesUnlocked, unpinUserPagesDirtyLock } from './gup.ts';
import type { MmStruct } from './mm-types.ts';
import { copyFromUser, copyToUser } from './uaccess.ts';

/** Pages that are pinned at a time (PVM_MAX_PP_ARRAY_COUNT). */
const BATCH_PAGES = 16;

/** A copy between two address spaces. */
export interface ProcessVmCopy {
  /** The caller's side. */
  readonly local: MmStruct;
  readonly localAddr: number;
  /** The side whose pages are pinned. */
  readonly remote: MmStruct;
  readonly remoteAddr: number;
  /** Bytes. */
  readonly length: number;
}

/**
 * Copies from the other process to the caller (process_vm_readv).
 *
 * @returns bytes copied, fewer than asked for when the rest can't be reached; when there is none,
 * EFAULT; EINVAL for numbers that are no addresses. Context: no mmap lock held; waits for faults.
 */
export function processVmReadv(copy: ProcessVmCopy): MaybePromise<number> {
  return processVmRw(copy, false);
}

/** Copies from the caller to the other process (process_vm_writev); see processVmReadv. */
export function processVmWritev(copy: ProcessVmCopy): MaybePromise<number> {
  return processVmRw(copy, true);
}

function processVmRw(copy: ProcessVmCopy, isWrite: boolean): MaybePromise<number> {
  const { localAddr, remoteAddr, length } = copy;
  if (!isAddress(localAddr) || !isAddress(remoteAddr) || !isAddress(length)) return errno.EINVAL;
  if (localAddr + length > TASK_SIZE || remoteAddr + length > TASK_SIZE) return errno.EFAULT;
  return new Transfer(copy, isWrite).run();
}

/** One call in progress. */
class Transfer {
  private readonly copy: ProcessVmCopy;
  private readonly isWrite: boolean;
  private readonly pfns = new Uint32Array(BATCH_PAGES);
  private done = 0;

  constructor(copy: ProcessVmCopy, isWrite: boolean) {
    this.copy = copy;
    this.isWrite = isWrite;
  }

  run(): MaybePromise<number> {
    while (this.done < this.copy.length) {
      const complete = this.batch();
      if (isPending(complete)) {
        return complete.then((settled) => (settled ? this.run() : this.stop()));
      }
      if (!complete) return this.stop();
    }
    return this.done;
  }

  private stop(): number {
    return this.done > 0 ? this.done : errno.EFAULT;
  }

  /** Pins and copies some pages (process_vm_rw_single_vec). False when that is the end. */
  private batch(): MaybePromise<boolean> {
    const { remote, remoteAddr, length } = this.copy;
    const addr = remoteAddr + this.done;
    const pages = Math.ceil((remoteAddr + length - pageAlignDown(addr)) / PAGE_SIZE);
    const count = Math.min(BATCH_PAGES, pages);
    const flags = FOLL_REMOTE | (this.isWrite ? FOLL_WRITE : 0);
    return andThen(pinUserPagesUnlocked(remote, addr, count, flags, this.pfns), (pinned) => {
      if (pinned <= 0) return false;
      return andThen(this.copyPinned(pinned, 0), (complete) => {
        unpinUserPagesDirtyLock(remote.sys, this.pfns.subarray(0, pinned), this.isWrite);
        return complete;
      });
    });
  }

  /** Copies the pinned pages from `i` on (process_vm_rw_pages). False when it got stuck. */
  private copyPinned(pinned: number, i: number): MaybePromise<boolean> {
    for (let at = i; at < pinned; at++) {
      const count = this.bytesInPage();
      const left = this.copyPage(this.pfns[at]!, count);
      if (isPending(left)) {
        return left.then(
          (settled) => this.advance(count, settled) && this.copyPinned(pinned, at + 1),
        );
      }
      if (!this.advance(count, left)) return false;
    }
    return true;
  }

  private bytesInPage(): number {
    const { remoteAddr, length } = this.copy;
    const addr = remoteAddr + this.done;
    return Math.min(PAGE_SIZE - (addr - pageAlignDown(addr)), length - this.done);
  }

  private advance(count: number, left: number): boolean {
    this.done += count - left;
    return left === 0;
  }

  /** Bytes of one page that could not be copied. */
  private copyPage(pfn: number, count: number): MaybePromise<number> {
    const { local, localAddr, remote, remoteAddr } = this.copy;
    const addr = remoteAddr + this.done;
    const start = pfn * PAGE_SIZE + (addr - pageAlignDown(addr));
    const bytes = remote.sys.ram.subarray(start, start + count);
    const user = localAddr + this.done;
    return this.isWrite ? copyFromUser(local, user, bytes) : copyToUser(local, user, bytes);
  }
}
