/**
 * What a process's address space looks like to a fault service: VMAs as regions of context pages,
 * and where each page is by the CPU page table. Our own.
 *
 * Locking: none; nothing waits. What is read is true until the next wait.
 */
import { PAGE_SIZE } from '../base/units.ts';
import { VM_HUGETLB, VM_READ, VM_SPECIAL, VM_WRITE } from '../mm/mm-types.ts';
import type { Vma } from '../mm/mm-types.ts';
import { vmaIndexAfter } from '../mm/vma-lookup.ts';
import { isDevicePrivateEntry, leafPfn, pteNone, ptePresent } from '../mm/swapops.ts';
import type { Dmirror } from './dmirror.ts';
import { IN_RAM, NO_HINTS, ON_DEVICE } from './policy/policy.ts';
import type { Region } from './policy/policy.ts';
import type { Residency } from './policy/residency.ts';
import { firstBehind } from './range-hints.ts';
import type { RangeHints } from './range-hints.ts';

/**
 * The readable VMAs of the context's pages [0, pages), in address order.
 *
 * @param originPage virtual page number of the context's page 0
 * @param said as mergeHints gives them
 */
export function regionsOf(
  mirror: Dmirror,
  originPage: number,
  pages: number,
  context: number,
  said: readonly RangeHints[] = [],
): Region[] {
  const { mm } = mirror;
  const regions: Region[] = [];
  for (let at = vmaIndexAfter(mm, originPage * PAGE_SIZE); at < mm.vmas.length; at++) {
    const vma = mm.vmas[at]!;
    const first = Math.max(0, vma.vmStart / PAGE_SIZE - originPage);
    const outer = Math.min(pages, vma.vmEnd / PAGE_SIZE - originPage);
    if (first >= pages) break;
    if ((vma.vmFlags & VM_READ) !== 0)
      splitByHints(regionOf(vma, first, outer, context), said, regions);
  }
  return regions;
}

function regionOf(vma: Vma, first: number, outer: number, context: number): Region {
  const isWritable = (vma.vmFlags & VM_WRITE) !== 0;
  const isMigratable = vma.inode === null && (vma.vmFlags & (VM_SPECIAL | VM_HUGETLB)) === 0;
  return { first, outer, context, isWritable, isMigratable, hints: NO_HINTS };
}

/** Cuts a region where hints begin and end. */
function splitByHints(region: Region, said: readonly RangeHints[], regions: Region[]): void {
  let { first } = region;
  for (let at = firstBehind(said, first); first < region.outer; at++) {
    const next = said[at];
    const from = Math.min(region.outer, next?.first ?? region.outer);
    if (from > first) regions.push({ ...region, first, outer: from });
    if (next === undefined || from === region.outer) return;
    const outer = Math.min(region.outer, next.outer);
    regions.push({ ...region, first: Math.max(first, from), outer, hints: next.hints });
    first = outer;
  }
}

/**
 * Where a page is by the CPU page table: ON_DEVICE in memory of this device, IN_RAM anywhere else
 * that has contents, 0 where nobody has touched it.
 *
 * @param page virtual page number
 */
export function whereIs(mirror: Dmirror, page: number): number {
  const { mm, device } = mirror;
  const { pageTables } = mm.sys;
  const address = page * PAGE_SIZE;
  const entry = pageTables.words[pageTables.leafOffset(mm.pgd, address)]!;
  if (pteNone(entry)) return 0;
  if (!ptePresent(entry) && !isDevicePrivateEntry(entry)) return IN_RAM;
  return device.memory.has(leafPfn(entry, address)) ? ON_DEVICE : IN_RAM;
}

/** The readable VMAs of a context, as they were when somebody looked last. */
export class ContextRegions {
  regions: readonly Region[];
  private readonly read: () => Region[];

  /** As for `regionsOf`. */
  constructor(...of: Parameters<typeof regionsOf>) {
    this.read = () => regionsOf(...of);
    this.regions = this.read();
  }

  /** The process may have mapped and unmapped memory, and changed what it may do with it. */
  refresh(space: Residency): void {
    const regions = this.read();
    if (areSameRegions(regions, this.regions)) return;
    this.regions = regions;
    space.replaceRegions(regions);
  }
}

/** Whether two lists of regions say the same. */
function areSameRegions(a: readonly Region[], b: readonly Region[]): boolean {
  if (a.length !== b.length) return false;
  return a.every((one, i) => {
    const other = b[i]!;
    return (
      one.first === other.first &&
      one.outer === other.outer &&
      one.isWritable === other.isWritable &&
      one.isMigratable === other.isMigratable &&
      one.hints === other.hints
    );
  });
}
