/**
 * The data structures of an address space and of the machine it lives in: `System` (what the kernel
 * keeps in globals), `MmStruct` and `Vma` (include/linux/mm_types.h). Objects exist per process and
 * per VMA only; everything per page is in the typed arrays of `MemMap` and `PageTables`.
 *
 * Locking: `mmapLock` is fair, read for faults and migration, write for changes of the VMA set. It
 * is never taken recursively.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { AnonVma } from './rmap.ts';
import type { UserfaultfdCtx } from './fs-userfaultfd.ts';
import type { DevPagemap } from './memremap.ts';
import type { MemMap } from './page.ts';
import type { MmapLock } from './mmap-lock.ts';
import type { MmuNotifierSubscriptions } from './mmu-notifier.ts';
import type { PageAllocator } from './page-alloc.ts';
import type { PageTables } from './pgtable.ts';
import type { ShmemInode } from './shmem.ts';
import type { SwapInfo } from './swapfile.ts';
import { PTE_PROTNONE, PTE_SOFT_DIRTY, PTE_WRITE } from './swapops.ts';
import type { TlbListener } from './tlb.ts';
import type { TraceSink } from './trace.ts';
import type { Vmstat } from './vmstat.ts';

/** VMA permission and kind bits, values of include/linux/mm.h. */
export const VM_READ = 0x1;
/** PROT_WRITE. */
export const VM_WRITE = 0x2;
/** PROT_EXEC. */
export const VM_EXEC = 0x4;
/** MAP_SHARED. */
export const VM_SHARED = 0x8;
/** Faults on missing pages go to a userfaultfd. */
export const VM_UFFD_MISSING = 0x200;
/** A driver's, with bare frames only. */
export const VM_PFNMAP = 0x400;
/** Guard markers were installed somewhere in it. */
export const VM_MAYBE_GUARD = 0x800;
/** Writes to protected pages go to a userfaultfd. */
export const VM_UFFD_WP = 0x1000;
/** A driver's, with side effects. */
export const VM_IO = 0x4000;
/** Advice about the order of accesses; kept, and otherwise ignored. */
export const VM_SEQ_READ = 0x8000;
/** MADV_RANDOM. */
export const VM_RAND_READ = 0x10000;
/** Not there in a child. */
export const VM_DONTCOPY = 0x20000;
/** mremap must not make it longer. */
export const VM_DONTEXPAND = 0x40000;
/** A mapping of huge pages only. */
export const VM_HUGETLB = 0x400000;
/** Empty in a child. */
export const VM_WIPEONFORK = 0x2000000;
/** Not for core dumps; kept, and otherwise ignored. */
export const VM_DONTDUMP = 0x4000000;
/** Everything in it counts as written, until soft-dirty bits are cleared for the first time. */
export const VM_SOFTDIRTY = 0x8000000;
/** A driver's, with pages and bare frames. */
export const VM_MIXEDMAP = 0x10000000;
/** Large folios are wanted, or not. */
export const VM_HUGEPAGE = 0x20000000;
/** MADV_NOHUGEPAGE. */
export const VM_NOHUGEPAGE = 0x40000000;
/** Flags that don't keep VMAs apart: the merged one has those of both (VM_STICKY). */
export const VM_STICKY = VM_MAYBE_GUARD | VM_SOFTDIRTY;
/** VMAs that migrate_vma_setup refuses. */
export const VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;
/** The ways in which a VMA can be registered with a userfaultfd. */
export const VM_UFFD_FLAGS = VM_UFFD_MISSING | VM_UFFD_WP;
/** The permissions that mprotect changes. */
export const VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC;

/**
 * The PTE_* bits that a fresh present entry of the VMA has by its permissions alone (vm_page_prot):
 * shared writable memory is mapped writable at once, unless a userfaultfd wants to see the writes
 * or soft-dirty bits note them (vma_wants_writenotify); private memory never is (the write fault or
 * an exclusive migration entry adds PTE_WRITE), and a VMA without any permission gets PTE_PROTNONE.
 */
export function vmaPageProt(vma: Vma): number {
  const flags = vma.vmFlags;
  if ((flags & VM_ACCESS_FLAGS) === 0) return PTE_PROTNONE;
  const deciding = VM_SHARED | VM_WRITE | VM_UFFD_WP | VM_SOFTDIRTY;
  return (flags & deciding) === (VM_SHARED | VM_WRITE | VM_SOFTDIRTY) ? PTE_WRITE : 0;
}

/**
 * True for private memory without anything behind it (vma_is_anonymous). A driver's mapping is not
 * anonymous although it has no object: it is filled when it is made, or not at all.
 */
export function vmaIsAnonymous(vma: Vma): boolean {
  return vma.inode === null && (vma.vmFlags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP)) === 0;
}

/** True when a write must fault, to be noted in the entry (pte_needs_soft_dirty_wp). */
export function needsSoftDirtyWp(vma: Vma, pte: number): boolean {
  return (vma.vmFlags & VM_SOFTDIRTY) === 0 && (pte & PTE_SOFT_DIRTY) === 0;
}

/** True when a writable entry may be made in the VMA at all (maybe_mkwrite). */
export function vmaMayWrite(vma: Vma): boolean {
  return (vma.vmFlags & VM_WRITE) !== 0;
}

/** Linear page index of an address within the VMA's mapping (linear_page_index). */
export function linearPageIndex(vma: Vma, addr: number): number {
  return vma.vmPgoff + Math.floor((addr - vma.vmStart) / PAGE_SIZE);
}

/** Policies of transparent huge pages (/sys/kernel/mm/transparent_hugepage/enabled). */
export const THP_NEVER = 0;
/** Where MADV_HUGEPAGE asked for it. */
export const THP_MADVISE = 1;
export const THP_ALWAYS = 2;

/** PROT_* of mmap and mprotect. */
export const PROT_NONE = 0;
/** May be loaded from. */
export const PROT_READ = 1;
/** May be stored to. */
export const PROT_WRITE = 2;
/** May be executed, which nobody does here: it makes a page readable, as on x86. */
export const PROT_EXEC = 4;

/** MAP_* of mmap. */
export const MAP_SHARED = 0x01;
/** Stores make private copies. */
export const MAP_PRIVATE = 0x02;
/** At this very address; what is mapped there goes. */
export const MAP_FIXED = 0x10;
/** Memory of its own, of zeroes at first, not that of a file. */
export const MAP_ANONYMOUS = 0x20;
/** At this very address, or EEXIST. */
export const MAP_FIXED_NOREPLACE = 0x100000;
/** Of huge pages (hugetlb.ts). */
export const MAP_HUGETLB = 0x40000;

/** A virtual memory area: [vmStart, vmEnd) of one address space with one set of permissions. */
export interface Vma {
  readonly mm: MmStruct;
  /** First byte and one past the last, page aligned. */
  vmStart: number;
  vmEnd: number;
  /** VM_* bits. */
  vmFlags: number;
  /** Linear page index of vmStart: within the inode, or vmStart / PAGE_SIZE when anonymous. */
  vmPgoff: number;
  /** Where new anonymous pages of this VMA are hung; null until the first anonymous fault. */
  anonVma: AnonVma | null;
  /** Every anon_vma that may hold a page mapped here (the parents' too, after fork). */
  readonly anonVmaChain: AnonVma[];
  /** Backing object of a shared mapping, null for private anonymous memory. */
  inode: ShmemInode | null;
  /** The userfaultfd that the VMA is registered with (vm_userfaultfd_ctx). */
  uffdCtx: UserfaultfdCtx | null;
}

/** An address space (struct mm_struct). */
export interface MmStruct {
  readonly sys: System;
  /** Small integer for traces and messages; unique within the machine's life. */
  readonly id: number;
  /** VMAs in address order, never overlapping. */
  readonly vmas: Vma[];
  /** Table number of the top level page table; 0, the empty one, after exit. */
  pgd: number;
  readonly mmapLock: MmapLock;
  /** mmu notifier state; null until the first subscription (struct mmu_notifier_subscriptions). */
  notifierSubscriptions: MmuNotifierSubscriptions | null;
  /** The OOM reaper took pages away: what is missing is no hole any more (MMF_UNSTABLE). */
  isUnstable: boolean;
  /** Live users; the address space is torn down when the last one leaves (mm_users). */
  users: number;
  /** Resident pages, device-private ones included (MM_ANONPAGES, MM_SHMEMPAGES). */
  anonRss: number;
  shmemRss: number;
  /** Pages that are in swap space instead (MM_SWAPENTS). */
  swapEnts: number;
  /** Resident pages of huge page mappings, which are in neither of those (hugetlb_usage). */
  hugetlbUsage: number;
  /** Number of TLB flushes and of pages in them: each reduction of a permission is one entry. */
  tlbFlushes: number;
  tlbFlushedPages: number;
  /** Caches of translations that flushTlbRange keeps right; empty while no core has one. */
  readonly tlbs: TlbListener[];
}

/** A reserved range of device pfns (struct resource). */
export interface MemRegion {
  readonly startPfn: number;
  readonly nrPages: number;
}

/** Everything that Linux keeps in globals, so that a thread can hold several machines. */
export interface System {
  /** The memory that the CPU reaches: RAM, then coherent frames. Page pfn starts at pfn * 4096. */
  readonly ram: Uint8Array<SharedArrayBuffer>;
  /** The same memory by 32-bit words. */
  readonly ramWords: Uint32Array<SharedArrayBuffer>;
  /** Pages of RAM; pfns below this are RAM, above belong to dev_pagemaps. */
  readonly ramPages: number;
  /** Pages that the CPU reaches: pfns from ramPages to below this are coherent device memory's. */
  readonly hostPages: number;
  readonly mem: MemMap;
  readonly pageTables: PageTables;
  readonly pageAllocator: PageAllocator;
  readonly vmstat: Vmstat;
  /** Gets the events of tracepoints; null while nobody listens. */
  trace: TraceSink | null;
  /** The shared page of zeroes (empty_zero_page). */
  readonly zeroPfn: number;
  /** Swap space; null before swapon. */
  swap: SwapInfo | null;
  /** The shared large folio of zeroes, made when first wanted (huge_zero_folio); 0 before. */
  hugeZeroPfn: number;
  /** Folios that huge page mappings may have and have (nr_overcommit_hugepages, nr_hugepages). */
  hugetlbLimit: number;
  hugetlbInUse: number;
  /** THP_*: which private anonymous memory gets large folios. */
  thpMode: number;
  /** Registered pagemaps by the number that MemMap.pgmap holds; entry 0 is null. */
  readonly pagemaps: (DevPagemap | null)[];
  /** Reserved ranges of device pfns in ascending order. */
  readonly deviceRegions: MemRegion[];
  /** anon_vma and shmem inodes by the number that MemMap.mapping encodes; entry 0 is null. */
  readonly anonVmas: (AnonVma | null)[];
  readonly inodes: (ShmemInode | null)[];
  /** Numbers of the two tables above that are free again. */
  readonly freeAnonVmaIds: number[];
  readonly freeInodeIds: number[];
  /** Address spaces that are alive. */
  readonly mms: Set<MmStruct>;
  nextMmId: number;
}
