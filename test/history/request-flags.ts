import assert from 'node:assert/strict';
import { PAGE_SIZE, PROT_READ } from '../../src/index.ts';
import { HMM_PFN_REQ_FAULT, hmmRangeFault } from '../../src/mm/hmm.ts';
import { hmmRange, start, validity } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(4);
  const { machine, process, addr, mm } = at;
  // Page 0 is there; the three behind it are holes.
  const holes = { addr: addr + PAGE_SIZE, length: 3 * PAGE_SIZE };
  await process.munmap(holes.addr, holes.length);
  await process.mmap({ ...holes, prot: PROT_READ });

  const look = async (defaultFlags: number, pfnFlagsMask: number): Promise<string> => {
    const range = { ...(await hmmRange(at, 4)), defaultFlags, pfnFlagsMask };
    // The last page asks for itself; the mask says whether that counts.
    range.hmmPfns[3] = HMM_PFN_REQ_FAULT;
    await mm.mmapLock.readLock();
    assert.equal(await hmmRangeFault(range), 0);
    mm.mmapLock.readUnlock();
    return validity(range);
  };
  assert.equal(await look(0, 0), 'v---');
  assert.equal(await look(0, HMM_PFN_REQ_FAULT), 'v--v');
  assert.equal(await look(HMM_PFN_REQ_FAULT, 0), 'vvvv');
  await machine.close();
}
