/**
 * Mappings that a driver fills by itself when its file is mapped (mm/memory.c: vm_insert_page,
 * vmf_insert_mixed, remap_pfn_range). There is nothing to fault in behind them: an entry that is
 * missing later is SIGBUS. migrate_vma_setup refuses such VMAs.
 *
 * VM_MIXEDMAP: ordinary pages, which count as mapped but belong to no object, and bare frames side
 * by side. VM_PFNMAP: bare frames only. The entry of a bare frame is special: mm takes no reference
 * and knows no page behind it; whoever mapped the frame keeps it alive.
 *
 * Locking: mmap lock held for write, inside mmap. Never waits.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, isPageAligned } from '../base/units.ts';
import { VM_DONTEXPAND, VM_IO, VM_MIXEDMAP, VM_PFNMAP, vmaPageProt } from './mm-types.ts';
import type { Vma } from './mm-types.ts';
import { PG_LRU, PG_RESERVED } from './page.ts';
import { folioAddFileRmap } from './rmap.ts';
import { PTE_SPECIAL, PTE_YOUNG, mkPte } from './swapops.ts';
import { isCowMapping } from './vma.ts';
import { countRss } from './zap.ts';

/**
 * Maps an ordinary page of the driver's (vm_insert_page); makes the VMA VM_MIXEDMAP. The mapping
 * takes a reference of its own.
 *
 * @param addr Page aligned. @param pfn A live RAM page in no object and no anonymous memory.
 * @returns 0; EFAULT outside of the VMA; EINVAL for another kind of page; EBUSY where something is
 * mapped; ENOMEM without a page table. Context: see the file header.
 */
export function vmInsertPage(vma: Vma, addr: number, pfn: number): number {
  const { mem, pageTables, ramPages } = vma.mm.sys;
  if (!isInside(vma, addr)) return errno.EFAULT;
  const isUsable = pfn < ramPages && mem.refcount[pfn]! > 0 && mem.mapping[pfn] === 0;
  if (!isUsable || mem.testFlag(pfn, PG_RESERVED | PG_LRU)) return errno.EINVAL;
  assert((vma.vmFlags & VM_PFNMAP) === 0, 'I36: a VMA of bare frames holds no ordinary page');
  vma.vmFlags |= VM_MIXEDMAP;
  const at = emptyPte(vma, addr);
  if (isErr(at)) return at;
  mem.getPage(pfn);
  folioAddFileRmap(vma.mm.sys, pfn);
  countRss(vma.mm, pfn);
  pageTables.setPte(at, mkPte(pfn, vmaPageProt(vma) | PTE_YOUNG));
  return 0;
}

/**
 * Maps a bare frame in a VMA that is VM_MIXEDMAP (vmf_insert_mixed).
 *
 * @param addr Page aligned. @param pfn A frame of RAM. @returns 0; EFAULT outside of the VMA;
 * EINVAL for a frame that is not RAM; EBUSY where something is mapped; ENOMEM without a page table.
 * Context: see the file header.
 */
export function vmfInsertMixed(vma: Vma, addr: number, pfn: number): number {
  const { pageTables, ramPages } = vma.mm.sys;
  assert((vma.vmFlags & VM_MIXEDMAP) !== 0, 'I36: bare frames are in VMAs that say so');
  if (!isInside(vma, addr)) return errno.EFAULT;
  if (pfn >= ramPages) return errno.EINVAL;
  const at = emptyPte(vma, addr);
  if (isErr(at)) return at;
  pageTables.setPte(at, mkPte(pfn, vmaPageProt(vma) | PTE_SPECIAL | PTE_YOUNG));
  return 0;
}

/**
 * Maps a run of bare frames (remap_pfn_range); makes the VMA VM_IO, VM_PFNMAP and VM_DONTEXPAND. In
 * a private mapping that may be written it has to be the whole VMA.
 *
 * @param addr Page aligned, inside the VMA. @param pfn First frame, all in RAM. @param size Bytes,
 * whole pages. @returns 0; EINVAL for another range, another frame, or part of a private mapping;
 * ENOMEM without a page table, with some mapped: the VMA has to go. Context: see the file header.
 */
export function remapPfnRange(vma: Vma, addr: number, pfn: number, size: number): number {
  const { pageTables, ramPages } = vma.mm.sys;
  if (!isPageAligned(addr) || !isPageAligned(size) || size <= 0) return errno.EINVAL;
  if (addr < vma.vmStart || addr + size > vma.vmEnd) return errno.EINVAL;
  const isWhole = addr === vma.vmStart && addr + size === vma.vmEnd;
  if (isCowMapping(vma) && !isWhole) return errno.EINVAL;
  if (!(pfn >= 0 && pfn + size / PAGE_SIZE <= ramPages)) return errno.EINVAL;
  assert((vma.vmFlags & VM_MIXEDMAP) === 0, 'I36: a VMA of bare frames holds no ordinary page');
  vma.vmFlags |= VM_IO | VM_PFNMAP | VM_DONTEXPAND;
  const prot = vmaPageProt(vma) | PTE_SPECIAL | PTE_YOUNG;
  for (let done = 0; done < size; done += PAGE_SIZE) {
    const at = emptyPte(vma, addr + done);
    assert(at !== errno.EBUSY, 'I36: a range of bare frames is mapped once');
    if (isErr(at)) return at;
    pageTables.setPte(at, mkPte(pfn + done / PAGE_SIZE, prot));
  }
  return 0;
}

function isInside(vma: Vma, addr: number): boolean {
  return isPageAligned(addr) && addr >= vma.vmStart && addr < vma.vmEnd;
}

/** Word index of the entry for an address where nothing is mapped, EBUSY, or ENOMEM. */
function emptyPte(vma: Vma, addr: number): number {
  const { pageTables } = vma.mm.sys;
  const at = pageTables.pteAlloc(vma.mm.pgd, addr);
  if (isErr(at)) return at;
  return pageTables.words[at] === 0 ? at : errno.EBUSY;
}
