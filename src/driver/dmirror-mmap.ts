/**
 * mmap of the test device's file (dmirror_fops_mmap, lib/test_hmm.c): every page gets a fresh page
 * of zeroes, which makes the mapping VM_MIXEDMAP. It lets tests see what HMM says of such memory.
 */
import { isErr } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { clearHighpage } from '../mm/highmem.ts';
import type { Vma } from '../mm/mm-types.ts';
import { allocPage, putPage } from '../mm/page-alloc.ts';
import { vmInsertPage } from '../mm/vm-insert.ts';

/**
 * Fills a new mapping of the device's file.
 *
 * @returns 0 or ENOMEM. Context: mmap lock held for write, inside mmap; never waits.
 */
export function dmirrorMmap(vma: Vma): number {
  const { sys } = vma.mm;
  for (let addr = vma.vmStart; addr < vma.vmEnd; addr += PAGE_SIZE) {
    const pfn = allocPage(sys);
    if (isErr(pfn)) return pfn;
    clearHighpage(sys, pfn);
    const status = vmInsertPage(vma, addr, pfn);
    // The mapping keeps the page.
    putPage(sys, pfn);
    if (isErr(status)) return status;
  }
  return 0;
}
