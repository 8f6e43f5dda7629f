/**
 * Exclusive access of a device to a page that stays in RAM (mm/rmap.c: make_device_exclusive), so
 * that it can work on it with atomic operations that RAM and CPUs know nothing of. The CPU's entry
 * becomes a device-exclusive one; whoever else reaches for the page takes the access back
 * (restore-exclusive.ts).
 *
 * Locking: mmap lock held by the caller and kept across waits. The page comes back locked: until
 * the driver unlocks it, nobody can take the access back. Of a large folio it is the lock of all.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import { FOLL_REMOTE, FOLL_SPLIT_PMD, FOLL_WRITE, getUserPages } from './gup.ts';
import type { MmStruct } from './mm-types.ts';
import {
  MMU_NOTIFY_EXCLUSIVE,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from './mmu-notifier.ts';
import { putPage } from './page-alloc.ts';
import { PG_DIRTY, PG_HUGETLB } from './page.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  mkLeaf,
  ptePfn,
  pteWrite,
} from './swapops.ts';
import { tryFlushTlbRange } from './tlb.ts';
import { vmEventIndex } from './vmstat.ts';

/** The page changed while its lock was waited for: begin again. No errno is that low. */
const RETRY = -4096;

/** Attempts at one page that may follow each other before it counts as a livelock. */
const MAX_ATTEMPTS = 100_000;

const DEVICE_EXCLUSIVE_MAKE = vmEventIndex('device_exclusive_make');

const exclusiveRange = new MmuNotifierRange();

/**
 * Gives a device exclusive access to the anonymous page at `addr` (make_device_exclusive). It is
 * faulted in for write first: copy-on-write is broken, a device-private page comes home, another
 * device loses its exclusive access. MMU_NOTIFY_EXCLUSIVE with `owner` precedes the change; a
 * driver that watches the range has to recognise its own, or it would see itself as a rival.
 *
 * @param addr Address in the page. @param owner Who asks; compared by identity.
 * @returns the pfn, its folio locked and referenced: program the device, then unlock and put it.
 * EFAULT for what can't be written; ENOMEM; EOPNOTSUPP for memory that is not anonymous, or of huge
 * pages. Context: mmap lock held for read and kept; waits for faults and for the page lock.
 */
export function makeDeviceExclusive(
  mm: MmStruct,
  addr: number,
  owner: unknown,
): MaybePromise<number> {
  assert(mm.mmapLock.isLocked, 'I26: the mmap lock is held');
  if (!isAddress(addr) || addr >= TASK_SIZE) return errno.EFAULT;
  return attempt(mm, pageAlignDown(addr), owner, 1);
}

function attempt(mm: MmStruct, addr: number, owner: unknown, times: number): MaybePromise<number> {
  for (let attempts = times; ; attempts++) {
    assert(attempts <= MAX_ATTEMPTS, 'I20: faults on a page make progress');
    const result = attemptOnce(mm, addr, owner);
    if (isPending(result)) {
      return result.then((settled) =>
        settled === RETRY ? attempt(mm, addr, owner, attempts + 1) : settled,
      );
    }
    if (result !== RETRY) return result;
  }
}

/** @returns as makeDeviceExclusive, or RETRY. */
function attemptOnce(mm: MmStruct, addr: number, owner: unknown): MaybePromise<number> {
  const { sys } = mm;
  const pfns = new Uint32Array(1);
  // Access is given page by page, so a PMD entry is split.
  const flags = FOLL_WRITE | FOLL_SPLIT_PMD | FOLL_REMOTE;
  return andThen(getUserPages(mm, addr, 1, flags, pfns), (taken) => {
    if (taken !== 1) return taken;
    const pfn = pfns[0]!;
    const folio = sys.mem.folioOf(pfn);
    if (!sys.mem.isAnon(folio) || sys.mem.testFlag(folio, PG_HUGETLB)) {
      putPage(sys, folio);
      return errno.EOPNOTSUPP;
    }
    return andThen(sys.mem.lockPage(folio), () => install(mm, addr, pfn, owner));
  });
}

/** Puts the device-exclusive entry in place of the present one, if that is still what it was. */
function install(mm: MmStruct, addr: number, pfn: number, owner: unknown): number {
  const { sys } = mm;
  const { mem, pageTables } = sys;
  const folio = mem.folioOf(pfn);
  const end = addr + PAGE_SIZE;
  mmuNotifierRangeInit(exclusiveRange, MMU_NOTIFY_EXCLUSIVE, mm, addr, end, owner);
  mmuNotifierInvalidateRangeStart(exclusiveRange);
  const at = pageTables.pteOffset(mm.pgd, addr);
  const pte = pageTables.words[at]!;
  // A writable entry of an anonymous page is the only one that maps it.
  if (!pteWrite(pte) || ptePfn(pte) !== pfn) {
    mmuNotifierInvalidateRangeEnd(exclusiveRange);
    mem.unlockPage(folio);
    putPage(sys, folio);
    return RETRY;
  }
  // One non-empty entry for another: the table's use count stays, as do map count and reference.
  pageTables.words[at] = mkLeaf(LEAF_DEVICE_EXCLUSIVE, pfn, pte & PTE_SOFT_DIRTY);
  if (!tryFlushTlbRange(mm, addr, end, 1)) {
    pageTables.words[at] = pte;
    mmuNotifierInvalidateRangeEnd(exclusiveRange);
    mem.unlockPage(folio);
    putPage(sys, folio);
    return errno.EBUSY;
  }
  if ((pte & PTE_DIRTY) !== 0) mem.setFlag(folio, PG_DIRTY);
  mmuNotifierInvalidateRangeEnd(exclusiveRange);
  sys.vmstat.add(DEVICE_EXCLUSIVE_MAKE, 1);
  return pfn;
}
