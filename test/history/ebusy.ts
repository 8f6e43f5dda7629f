import assert from 'node:assert/strict';
import { errno, PAGE_SIZE, PROT_READ } from '../../src/index.ts';
import { hmmRangeFault } from '../../src/mm/hmm.ts';
import { mmuIntervalReadBegin } from '../../src/mm/mmu-notifier.ts';
import { hmmRange, start, validity } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(2);
  const range = await hmmRange(at, 2);
  await at.process.mprotect(at.addr, PAGE_SIZE, PROT_READ);

  const look = async (): Promise<number> => {
    await at.mm.mmapLock.readLock();
    const status = await hmmRangeFault(range);
    at.mm.mmapLock.readUnlock();
    return status;
  };
  // The range changed after read_begin. EAGAIN meant that once, or that the lock had been dropped.
  assert.equal(await look(), errno.EBUSY);
  assert.equal(validity(range), '--');
  range.notifierSeq = await mmuIntervalReadBegin(range.notifier);
  assert.equal(await look(), 0);
  assert.equal(validity(range), 'vv');
  await at.machine.close();
}
