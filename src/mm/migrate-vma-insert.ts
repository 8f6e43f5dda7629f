/**
 * Migration of what is not there (mm/migrate_device.c: migrate_vma_insert_page): a hole or the zero
 * page of anonymous memory becomes a fresh page, which the driver cleared. The entry may have
 * changed while the driver worked, so each one is looked at again.
 *
 * Locking: mmap lock held; inside an MMU_NOTIFY_MIGRATE range from the first inserted page to the
 * end, with the caller's owner. Replaced zero pages are flushed once. Never waits.
 *
 * A VMA whose missing pages belong to a userfaultfd, and an address space that the OOM reaper was
 * in, refuse.
 */
import { errno, isErr } from '../base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../base/units.ts';
import { userfaultfdMissing } from './fs-userfaultfd.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  migrateEntryPages,
  migratePfnToPage,
} from './migrate-types.ts';
import type { MigrateVma } from './migrate-types.ts';
import { insertHugePage, isHugeZero } from './migrate-vma-insert-huge.ts';
import { vmaIsAnonymous, vmaMayWrite, vmaPageProt } from './mm-types.ts';
import type { Vma } from './mm-types.ts';
import {
  MMU_NOTIFY_MIGRATE,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { PG_LRU, PG_UPTODATE } from './page.ts';
import { anonVmaPrepare, folioAddNewAnonRmap } from './rmap.ts';
import {
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_HOLE_RACED,
  SKIP_MM_UNSTABLE,
  SKIP_NO_DESTINATION,
  SKIP_NO_MEMORY,
  SKIP_SIZES_DIFFER,
  SKIP_USERFAULTFD,
  noteReason,
} from './skip-reason.ts';
import { splitHugePmd } from './split-huge-pmd.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_WRITE,
  PTE_YOUNG,
  mkLeaf,
  mkPte,
  ptePfn,
  ptePresent,
} from './swapops.ts';
import { flushTlbRange } from './tlb.ts';

const insertRange = new MmuNotifierRange();

/** Outcomes of insertPage besides the SKIP_* codes: nothing was there, or the zero page was. */
const INSERTED = -1;
const INSERTED_FOR_ZERO_PAGE = -2;

/**
 * Maps the destination of every hole of src[]. Where that fails MIGRATE is cleared, and finalize
 * frees the destination.
 *
 * Context: between migrateVmaSetup and migrateVmaFinalize.
 */
export function migrateVmaInsertPages(args: MigrateVma): void {
  const { src, dst } = args;
  const { mm } = args.vma;
  let isOpen = false;
  let replaced = 0;
  for (let i = 0; i < args.npages; i++) {
    // Exactly this: a source page would have VALID and its pfn too.
    if ((src[i]! & ~MIGRATE_PFN_COMPOUND) !== MIGRATE_PFN_MIGRATE) {
      i += migrateEntryPages(src[i]!) - 1;
      continue;
    }
    const target = migratePfnToPage(dst[i]!);
    if (target < 0) {
      refuse(args, i, SKIP_NO_DESTINATION);
      continue;
    }
    const addr = args.start + i * PAGE_SIZE;
    if (!isOpen) {
      isOpen = true;
      const owner = args.pgmapOwner;
      mmuNotifierRangeInit(insertRange, MMU_NOTIFY_MIGRATE, mm, addr, args.end, owner);
      mmuNotifierInvalidateRangeStart(insertRange);
    }
    const isLarge = (dst[i]! & MIGRATE_PFN_COMPOUND) !== 0;
    if (isLarge !== ((src[i]! & MIGRATE_PFN_COMPOUND) !== 0)) {
      if (isLarge) {
        refuse(args, i, SKIP_SIZES_DIFFER);
        continue;
      }
      // The driver had no large folio: the hole is filled page by page.
      src.fill(MIGRATE_PFN_MIGRATE, i, i + HPAGE_PMD_NR);
    }
    const outcome = isLarge
      ? insertLarge(args.vma, addr, target)
      : insertPage(args.vma, addr, target);
    if (outcome >= 0) refuse(args, i, outcome);
    else if (outcome !== INSERTED) replaced += isLarge ? HPAGE_PMD_NR : 1;
    if (isLarge) i += HPAGE_PMD_NR - 1;
  }
  if (!isOpen) return;
  flushTlbRange(mm, args.start, args.end, replaced);
  mmuNotifierInvalidateRangeEnd(insertRange);
}

function refuse(args: MigrateVma, slot: number, reason: number): void {
  const end = slot + migrateEntryPages(args.src[slot]!);
  args.src[slot] = 0;
  noteReason(args.reasons, reason, slot, end);
}

/** Maps one large folio. @returns INSERTED*, or why not: a SKIP_* code. */
function insertLarge(vma: Vma, addr: number, target: number): number {
  const isPrivate = vma.mm.sys.mem.isDevicePrivate(target);
  const mapped = isPrivate ? devicePte(vma, target) : presentPte(vma, target);
  const outcome = insertHugePage(vma, addr, target, mapped);
  if (outcome < 0) return -outcome;
  return outcome > 0 ? INSERTED_FOR_ZERO_PAGE : INSERTED;
}

/** Maps one page (migrate_vma_insert_page). @returns INSERTED*, or why not: a SKIP_* code. */
function insertPage(vma: Vma, addr: number, target: number): number {
  const { mm } = vma;
  const { mem, pageTables, zeroPfn } = mm.sys;
  if (!vmaIsAnonymous(vma)) return SKIP_HOLE_NOT_ANONYMOUS;
  let at = pageTables.pteAlloc(mm.pgd, addr);
  if (at === errno.EEXIST) {
    // A large folio came meanwhile; only the one of zeroes counts as a hole still.
    const pmdAt = pageTables.pmdOffset(mm.pgd, addr);
    if (!isHugeZero(mm.sys, pageTables.words[pmdAt]!)) return SKIP_HOLE_RACED;
    splitHugePmd(vma, pmdAt, addr - (addr % PMD_SIZE));
    at = pageTables.pteOffset(mm.pgd, addr);
  }
  if (isErr(at)) return SKIP_NO_MEMORY;
  const old = pageTables.words[at]!;
  if (mm.isUnstable) return SKIP_MM_UNSTABLE;
  const isZeroPage = ptePresent(old) && (old & PTE_SPECIAL) !== 0 && ptePfn(old) === zeroPfn;
  if (old !== 0 && !isZeroPage) return SKIP_HOLE_RACED;
  // Checked last and here, as in Linux: the registration may have come while the driver copied.
  if (userfaultfdMissing(vma)) return SKIP_USERFAULTFD;
  anonVmaPrepare(vma);
  folioAddNewAnonRmap(mm.sys, target, vma, addr);
  mm.anonRss++;
  mem.setFlag(target, mem.isZoneDevice(target) ? PG_UPTODATE : PG_UPTODATE | PG_LRU);
  // The caller's reference stays until finalize; the mapping has one of its own.
  mem.getPage(target);
  const isPrivate = mem.isDevicePrivate(target);
  if (isPrivate) {
    pageTables.setPte(at, devicePte(vma, target));
    return isZeroPage ? INSERTED_FOR_ZERO_PAGE : INSERTED;
  }
  if (isZeroPage) {
    // No core may still see zeroes when another one stores to what is there instead.
    pageTables.setPte(at, 0);
    flushTlbRange(mm, addr, addr + PAGE_SIZE, 1);
  }
  pageTables.setPte(at, presentPte(vma, target));
  return INSERTED;
}

function devicePte(vma: Vma, target: number): number {
  const leaf = vmaMayWrite(vma) ? LEAF_DEVICE_PRIVATE_WRITE : LEAF_DEVICE_PRIVATE_READ;
  return mkLeaf(leaf, target, 0);
}

function presentPte(vma: Vma, target: number): number {
  const written = vmaMayWrite(vma) ? PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY : 0;
  return mkPte(target, vmaPageProt(vma) | PTE_YOUNG | written);
}
