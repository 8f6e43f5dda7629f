/**
 * Finding VMAs by address (mm/mmap.c:find_vma, vma_lookup). An address space keeps its VMAs in a
 * sorted array, searched by halves, where Linux has a maple tree.
 */
import type { MmStruct, Vma } from './mm-types.ts';

/** Position of the first VMA that ends above `addr`; mm.vmas.length when there is none. */
export function vmaIndexAfter(mm: MmStruct, addr: number): number {
  const vmas = mm.vmas;
  let low = 0;
  let high = vmas.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (vmas[middle]!.vmEnd <= addr) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first VMA that ends above `addr`, or null (find_vma). Context: mmap lock held. */
export function findVma(mm: MmStruct, addr: number): Vma | null {
  return mm.vmas[vmaIndexAfter(mm, addr)] ?? null;
}

/** The VMA that contains `addr`, or null (vma_lookup). Context: mmap lock held. */
export function vmaLookup(mm: MmStruct, addr: number): Vma | null {
  const vma = findVma(mm, addr);
  return vma !== null && vma.vmStart <= addr ? vma : null;
}
