/**
 * Making, splitting, merging and removing VMAs (mm/vma.c). The rest of mm sees a VMA only while it
 * is in `mm.vmas`; all three lists that know it (the address space, anon_vmas, the inode's) change
 * together.
 *
 * Locking: mmap lock held for write everywhere. Never waits.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PMD_SIZE } from '../base/units.ts';
import { maySplitVma } from './hugetlb.ts';
import { VM_SHARED, VM_SPECIAL, VM_STICKY, linearPageIndex } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { anonVmaClone, unlinkAnonVmas } from './rmap.ts';
import { shmemGet, shmemPut } from './shmem.ts';
import type { ShmemInode } from './shmem.ts';
import { splitHugePmdAddress } from './split-huge-pmd.ts';
import { vmaIndexAfter } from './vma-lookup.ts';

/** Most VMAs of an address space (the default of vm.max_map_count). */
export const MAX_MAP_COUNT = 65530;

/** A VMA that is in no list yet. All arguments as in the interface `Vma`. */
export function makeVma(
  mm: MmStruct,
  vmStart: number,
  vmEnd: number,
  vmFlags: number,
  vmPgoff: number,
  inode: ShmemInode | null,
): Vma {
  return {
    mm,
    vmStart,
    vmEnd,
    vmFlags,
    vmPgoff,
    anonVma: null,
    anonVmaChain: [],
    inode,
    uffdCtx: null,
  };
}

/** Puts a new VMA into its address space and on its inode's list (vma_link). */
export function linkVma(vma: Vma): void {
  vma.mm.vmas.splice(vmaIndexAfter(vma.mm, vma.vmStart), 0, vma);
  linkFile(vma);
}

/** Takes a VMA that is out of `mm.vmas` and maps nothing off all other lists (remove_vma). */
export function releaseVma(vma: Vma): void {
  unlinkAnonVmas(vma);
  if (vma.inode === null) return;
  vma.inode.intervals.remove(vma);
  shmemPut(vma.inode);
}

/**
 * Cuts a VMA in two at `addr` (__split_vma): `vma` keeps the lower part.
 *
 * @param addr Page aligned, strictly inside the VMA. @returns the upper part. The caller has
 * checked MAX_MAP_COUNT.
 */
export function splitVma(vma: Vma, addr: number): Vma {
  // No PMD leaf may lie across two VMAs (vma_adjust_trans_huge).
  if (addr % PMD_SIZE !== 0) splitHugePmdAddress(vma, addr);
  const pgoff = linearPageIndex(vma, addr);
  const upper = makeVma(vma.mm, addr, vma.vmEnd, vma.vmFlags, pgoff, vma.inode);
  upper.uffdCtx = vma.uffdCtx;
  leaveIntervals(vma);
  vma.vmEnd = addr;
  enterIntervals(vma);
  anonVmaClone(upper, vma);
  linkVma(upper);
  return upper;
}

/**
 * Cuts what is outside of [start, end) off a VMA (vma_modify), for a change of that part alone.
 * The caller merges afterwards.
 *
 * @param start, end Page aligned, inside the VMA. @returns the VMA of exactly that range; EINVAL
 * for a bound inside a huge page; ENOMEM when there are too many: what lies below may have been cut
 * off by then.
 */
export function isolateRange(vma: Vma, start: number, end: number): Vma | number {
  const { vmas } = vma.mm;
  if (!maySplitVma(vma, start) || !maySplitVma(vma, end)) return errno.EINVAL;
  let piece = vma;
  if (piece.vmStart < start) {
    if (vmas.length >= MAX_MAP_COUNT) return errno.ENOMEM;
    piece = splitVma(piece, start);
  }
  if (piece.vmEnd > end) {
    if (vmas.length >= MAX_MAP_COUNT) return errno.ENOMEM;
    splitVma(piece, end);
  }
  return piece;
}

/**
 * Moves the end of a VMA up (vma_expand). Nothing else is mapped up to there.
 *
 * @param end Page aligned, above the end that it has.
 */
export function growVma(vma: Vma, end: number): void {
  leaveIntervals(vma);
  vma.vmEnd = end;
  enterIntervals(vma);
}

/**
 * Merges a VMA with its neighbours where nothing tells them apart (vma_merge).
 *
 * @returns the VMA that now covers the range of `vma`.
 */
export function mergeVma(vma: Vma): Vma {
  const { vmas } = vma.mm;
  const at = vmaIndexAfter(vma.mm, vma.vmStart);
  const next = vmas[at + 1];
  if (next !== undefined && canMerge(vma, next)) absorb(vma, next, at + 1);
  const prev = vmas[at - 1];
  if (prev === undefined || !canMerge(prev, vma)) return vma;
  absorb(prev, vma, at);
  return prev;
}

function canMerge(low: Vma, high: Vma): boolean {
  return (
    low.vmEnd === high.vmStart &&
    ((low.vmFlags ^ high.vmFlags) & ~VM_STICKY) === 0 &&
    (low.vmFlags & VM_SPECIAL) === 0 &&
    low.inode === high.inode &&
    low.uffdCtx === high.uffdCtx &&
    linearPageIndex(low, low.vmEnd) === high.vmPgoff &&
    anonVmasFit(low, high)
  );
}

/** Merging must keep every page of either half findable (is_mergeable_anon_vma). */
function anonVmasFit(low: Vma, high: Vma): boolean {
  const { anonVmaChain: a } = low;
  const { anonVmaChain: b } = high;
  if (low.anonVma === null || high.anonVma === null) return a.length + b.length <= 1;
  if (low.anonVma !== high.anonVma) return false;
  // Shared by a split or by anonVmaPrepare, never by fork: so what either inherited is the same.
  assert(a.length === b.length, 'I22: VMAs that share an anon_vma have one chain');
  return true;
}

/** `low` takes over the range of `high`, which goes away. */
function absorb(low: Vma, high: Vma, highIndex: number): void {
  leaveIntervals(low);
  low.vmEnd = high.vmEnd;
  low.vmFlags |= high.vmFlags & VM_STICKY;
  enterIntervals(low);
  if (low.anonVma === null) anonVmaClone(low, high);
  low.mm.vmas.splice(highIndex, 1);
  releaseVma(high);
}

function linkFile(vma: Vma): void {
  if (vma.inode === null) return;
  shmemGet(vma.inode);
  vma.inode.intervals.insert(vma);
}

/** Off the sorted lists while the bounds change (vma_prepare). */
function leaveIntervals(vma: Vma): void {
  for (const anonVma of vma.anonVmaChain) anonVma.intervals.remove(vma);
  vma.inode?.intervals.remove(vma);
}

function enterIntervals(vma: Vma): void {
  for (const anonVma of vma.anonVmaChain) anonVma.intervals.insert(vma);
  vma.inode?.intervals.insert(vma);
}

/** True for private memory, where a write needs a copy of its own (is_cow_mapping). */
export function isCowMapping(vma: Vma): boolean {
  return (vma.vmFlags & VM_SHARED) === 0;
}
