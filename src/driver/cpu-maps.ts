/**
 * What the CPU page table says of a page that a command of the test device has just finished with.
 * zapPageRange needs the mmap lock for read only, so it can take a page away while a command that
 * holds the same lock copies it. It tells our notifier at once, but by then there is nothing to
 * erase: the entry would be made afterwards, for a page that is free. So the device page table gets
 * a page only if the CPU page table still has it. Our own; the kernel's test device does not look.
 */
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import {
  isDevicePrivateEntry,
  isPmdLeaf,
  isWritableLeaf,
  ptePfn,
  ptePresent,
  pteWrite,
} from '../mm/swapops.ts';

/**
 * True when `addr` is mapped to that page, as RAM or device memory.
 *
 * @param isWritten Asks for the permission to write, too.
 * Context: no wait since the mapping was made; true until the next one.
 */
export function cpuMaps(mm: MmStruct, addr: number, pfn: number, isWritten: boolean): boolean {
  const { pageTables } = mm.sys;
  const pteAt = pageTables.pteOffset(mm.pgd, addr);
  const isHuge = pteAt === 0;
  const entry = pageTables.words[isHuge ? pageTables.pmdOffset(mm.pgd, addr) : pteAt]!;
  if (!ptePresent(entry) && !isDevicePrivateEntry(entry)) return false;
  if (isWritten && !pteWrite(entry) && !isWritableLeaf(entry)) return false;
  const offset = isHuge ? Math.floor(addr / PAGE_SIZE) % HPAGE_PMD_NR : 0;
  return ptePfn(entry) + offset === pfn;
}

/**
 * True when one entry maps the whole of the 2 MiB around `addr`: what cpuMaps says of one of its
 * pages is so of all.
 *
 * Context: as cpuMaps.
 */
export function cpuMapsWhole(mm: MmStruct, addr: number): boolean {
  const { pageTables } = mm.sys;
  return isPmdLeaf(pageTables.words[pageTables.pmdOffset(mm.pgd, addr)]!);
}
