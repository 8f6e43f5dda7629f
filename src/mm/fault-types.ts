/**
 * What a page fault is asked and what it answers (include/linux/mm_types.h: enum fault_flag, enum
 * vm_fault_reason; include/linux/mm.h: struct vm_fault).
 */
import type { Vma } from './mm-types.ts';

/** Why a fault is handled; values of enum fault_flag. */
export const FAULT_FLAG_WRITE = 0x1;
/** The caller can do with a dropped mmap lock. */
export const FAULT_FLAG_ALLOW_RETRY = 0x4;
export const FAULT_FLAG_USER = 0x40;
/** On behalf of somebody else than the owner of the address space. */
export const FAULT_FLAG_REMOTE = 0x80;
/**
 * A reader wants an anonymous page that is the process's alone, as a pin needs it: a page that is
 * shared copy-on-write is copied as for a write, but stays read-only. Never together with WRITE.
 */
export const FAULT_FLAG_UNSHARE = 0x400;

/** Outcomes of a fault; values of enum vm_fault_reason. */
export const VM_FAULT_OOM = 0x1;
export const VM_FAULT_SIGBUS = 0x2;
export const VM_FAULT_HWPOISON = 0x10;
export const VM_FAULT_SIGSEGV = 0x40;
/** The mmap lock was dropped; take it again and start over. */
export const VM_FAULT_RETRY = 0x400;
/** The bits that mean the access must not be retried. */
export const VM_FAULT_ERROR = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_HWPOISON | VM_FAULT_SIGSEGV;

/** A fault on a device page, as `migrateToRam` gets it (struct vm_fault). */
export interface VmFault {
  readonly vma: Vma;
  /** Faulting address. */
  readonly address: number;
  /** FAULT_FLAG_* bits. */
  readonly flags: number;
  /** The device page, locked and referenced by the fault: pass it as fault page. */
  readonly page: number;
  /** True when a PTE faulted (vmf->pte), false when it was a PMD. */
  readonly ptePresent: boolean;
}
