/**
 * The CPU's way into user memory: the fault handler of the architecture (arch/x86/mm/fault.c) and
 * the copies between kernel and user space (include/linux/uaccess.h). A copy works page by page:
 * look up the entry, check the access, copy, set young and dirty as hardware does; otherwise fault
 * and try again. It is synchronous as long as no fault has to wait, and touches page contents only
 * between waits.
 *
 * Permissions are x86's: any permission makes a page readable, a store needs PTE_WRITE.
 */
import { assert } from '../base/assert.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGSEGV,
  handleMmFault,
} from './memory.ts';
import { VM_ACCESS_FLAGS, VM_WRITE } from './mm-types.ts';
import type { MmStruct } from './mm-types.ts';
import { noteFirstTouch } from './readahead.ts';
import { PTE_DIRTY, PTE_PRESENT, PTE_PROTNONE, PTE_WRITE, PTE_YOUNG, leafPfn } from './swapops.ts';
import { vmaLookup } from './vma-lookup.ts';

/** Kinds of access. */
export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;

/** Outcomes of a fault, as the accessing program sees them. */
export const FAULT_OK = 0;
/** No mapping there, or not that permission. */
export const FAULT_SIGSEGV = 1;
/** Mapped, but the contents can't be had: beyond the end of an object, lost, poisoned. */
export const FAULT_SIGBUS = 2;
/** No page or page table was free. */
export const FAULT_ENOMEM = 3;

/** Where and why a copy stopped; filled in only when it did not copy everything. */
export interface CopyFault {
  /** FAULT_* */
  outcome: number;
  /** First byte that could not be reached. */
  address: number;
}

/** Faults on one page that may follow each other before it counts as a livelock. */
const MAX_FAULTS_PER_PAGE = 100_000;

/**
 * Handles one CPU fault (do_user_addr_fault).
 *
 * @param access ACCESS_READ or ACCESS_WRITE. @returns FAULT_OK: try the access again (it may fault
 * again); or one of the other FAULT_* outcomes.
 * Context: takes the mmap lock for read; waits for it and for whatever the fault has to wait for.
 */
export function faultInUser(mm: MmStruct, addr: number, access: number): MaybePromise<number> {
  const locked = mm.mmapLock.readLock();
  if (isPending(locked)) return locked.then(() => faultLocked(mm, addr, access));
  return faultLocked(mm, addr, access);
}

function faultLocked(mm: MmStruct, addr: number, access: number): MaybePromise<number> {
  const vma = vmaLookup(mm, addr);
  const needed = access === ACCESS_WRITE ? VM_WRITE : VM_ACCESS_FLAGS;
  if (vma === null || (vma.vmFlags & needed) === 0) {
    mm.mmapLock.readUnlock();
    return FAULT_SIGSEGV;
  }
  const write = access === ACCESS_WRITE ? FAULT_FLAG_WRITE : 0;
  const flags = FAULT_FLAG_USER | FAULT_FLAG_ALLOW_RETRY | write;
  const result = handleMmFault(vma, addr, flags);
  if (isPending(result)) return result.then((bits) => finishFault(mm, bits));
  return finishFault(mm, result);
}

function finishFault(mm: MmStruct, bits: number): number {
  // The lock is gone: the next attempt takes it anew.
  if ((bits & VM_FAULT_RETRY) !== 0) return FAULT_OK;
  mm.mmapLock.readUnlock();
  if ((bits & VM_FAULT_ERROR) === 0) return FAULT_OK;
  if ((bits & VM_FAULT_OOM) !== 0) return FAULT_ENOMEM;
  return (bits & VM_FAULT_SIGSEGV) !== 0 ? FAULT_SIGSEGV : FAULT_SIGBUS;
}

/**
 * The frame behind `addr` when the CPU may make the access right now, 0 when it would fault. Sets
 * young and, for a write, dirty, as the hardware walk does.
 *
 * Context: any; valid until the next wait.
 */
export function accessiblePage(mm: MmStruct, addr: number, access: number): number {
  const { pageTables } = mm.sys;
  const at = pageTables.leafOffset(mm.pgd, addr);
  const pte = pageTables.words[at]!;
  const isWrite = access === ACCESS_WRITE;
  const needed = isWrite ? PTE_PRESENT | PTE_WRITE : PTE_PRESENT;
  if ((pte & (needed | PTE_PROTNONE)) !== needed) return 0;
  if ((pte & PTE_YOUNG) === 0) noteFirstTouch(mm.sys, leafPfn(pte, addr));
  pageTables.words[at] = (pte | (isWrite ? PTE_YOUNG | PTE_DIRTY : PTE_YOUNG)) >>> 0;
  return leafPfn(pte, addr);
}

/**
 * Copies user memory into `target` (copy_from_user).
 *
 * @param fault Filled in when not everything could be copied. @returns bytes NOT copied, 0 = all.
 * Context: mmap lock not held; waits for faults.
 */
export function copyFromUser(
  mm: MmStruct,
  addr: number,
  target: Uint8Array,
  fault?: CopyFault,
): MaybePromise<number> {
  if (copyOnePage(mm, addr, target, ACCESS_READ)) return 0;
  return new UserCopy(mm, addr, target, ACCESS_READ, fault).run();
}

/**
 * Copies `source` into user memory (copy_to_user). What was copied before a failure stays.
 *
 * @param fault Filled in when not everything could be copied. @returns bytes NOT copied, 0 = all.
 * Context: mmap lock not held; waits for faults.
 */
export function copyToUser(
  mm: MmStruct,
  addr: number,
  source: Uint8Array,
  fault?: CopyFault,
): MaybePromise<number> {
  if (copyOnePage(mm, addr, source, ACCESS_WRITE)) return 0;
  return new UserCopy(mm, addr, source, ACCESS_WRITE, fault).run();
}

/** Short copies are mostly inside one page that needs no fault: done without more ado. */
function copyOnePage(mm: MmStruct, addr: number, bytes: Uint8Array, access: number): boolean {
  const offset = addr - pageAlignDown(addr);
  const count = bytes.length;
  // Also refuses NaN and addresses above user space.
  if (!(offset + count <= PAGE_SIZE && addr >= 0 && addr < TASK_SIZE)) return false;
  if (count === 0 || !Number.isInteger(addr)) return false;
  const pfn = accessiblePage(mm, addr, access);
  if (pfn === 0) return false;
  const start = pfn * PAGE_SIZE + offset;
  moveBytes(mm.sys.ram, start, bytes, access);
  return true;
}

/** Copies all of `bytes` to or from RAM at `start`, by the direction of the access. */
function moveBytes(ram: Uint8Array, start: number, bytes: Uint8Array, access: number): void {
  if (access === ACCESS_WRITE) ram.set(bytes, start);
  else bytes.set(ram.subarray(start, start + bytes.length));
}

/** One copy in progress: what has to survive a wait. */
class UserCopy {
  private readonly mm: MmStruct;
  private readonly addr: number;
  private readonly bytes: Uint8Array;
  private readonly access: number;
  private readonly fault: CopyFault | undefined;
  private done = 0;
  private faultsOnPage = 0;

  constructor(
    mm: MmStruct,
    addr: number,
    bytes: Uint8Array,
    access: number,
    fault: CopyFault | undefined,
  ) {
    this.mm = mm;
    this.addr = addr;
    this.bytes = bytes;
    this.access = access;
    this.fault = fault;
  }

  run(): MaybePromise<number> {
    // Addresses that no page table can hold fail as in access_ok, before anything is copied.
    if (!isAddress(this.addr) || this.addr > TASK_SIZE - this.bytes.length) {
      return this.stop(FAULT_SIGSEGV);
    }
    return this.proceed();
  }

  /** Copies until the end, a failure, or a fault that has to wait. */
  private proceed(): MaybePromise<number> {
    while (this.done < this.bytes.length) {
      const pfn = accessiblePage(this.mm, this.addr + this.done, this.access);
      if (pfn !== 0) {
        this.copyWithinPage(pfn);
        continue;
      }
      const outcome = this.faultIn();
      if (isPending(outcome)) return outcome.then((settled) => this.resume(settled));
      if (outcome !== FAULT_OK) return this.stop(outcome);
    }
    return 0;
  }

  private resume(outcome: number): MaybePromise<number> {
    return outcome === FAULT_OK ? this.proceed() : this.stop(outcome);
  }

  private faultIn(): MaybePromise<number> {
    this.faultsOnPage++;
    assert(this.faultsOnPage <= MAX_FAULTS_PER_PAGE, 'I20: faults on a page make progress');
    return faultInUser(this.mm, this.addr + this.done, this.access);
  }

  private copyWithinPage(pfn: number): void {
    const { ram } = this.mm.sys;
    const address = this.addr + this.done;
    const offset = address - pageAlignDown(address);
    const count = Math.min(PAGE_SIZE - offset, this.bytes.length - this.done);
    const start = pfn * PAGE_SIZE + offset;
    moveBytes(ram, start, this.bytes.subarray(this.done, this.done + count), this.access);
    this.done += count;
    this.faultsOnPage = 0;
  }

  private stop(outcome: number): number {
    if (this.fault !== undefined) {
      this.fault.outcome = outcome;
      this.fault.address = this.addr + this.done;
    }
    return this.bytes.length - this.done;
  }
}
