import assert from 'node:assert/strict';
import { PAGE_SIZE, PROT_READ } from '../../src/index.ts';
import { HMM_PFN_VALID, HMM_PFN_WRITE, hmmPfnToPage, hmmRangeFault } from '../../src/mm/hmm.ts';
import { hmmRange, pageAt, start } from './machine.ts';

/** A driver's own page table entry: what range->flags[] and range->pfn_shift used to describe. */
const DRIVER_READ = 1 << 0;
const DRIVER_WRITE = 1 << 1;
const DRIVER_SHIFT = 8;

function driverEntry(hmmPfn: number): number {
  if ((hmmPfn & HMM_PFN_VALID) === 0) return 0;
  const rights = (hmmPfn & HMM_PFN_WRITE) === 0 ? DRIVER_READ : DRIVER_READ | DRIVER_WRITE;
  return ((hmmPfnToPage(hmmPfn) << DRIVER_SHIFT) | rights) >>> 0;
}

export async function example(): Promise<void> {
  const at = await start(2);
  const { machine, process, addr, mm } = at;
  await process.mprotect(addr + PAGE_SIZE, PAGE_SIZE, PROT_READ);
  const range = await hmmRange(at, 2);
  await mm.mmapLock.readLock();
  assert.equal(await hmmRangeFault(range), 0);
  mm.mmapLock.readUnlock();
  // The answer has one format for all drivers; each translates as it fills its own table.
  assert.deepEqual(Array.from(range.hmmPfns, driverEntry), [
    pageAt(at, addr) * 256 + 3,
    pageAt(at, addr + PAGE_SIZE) * 256 + 1,
  ]);
  await machine.close();
}
