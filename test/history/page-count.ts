import assert from 'node:assert/strict';
import { errno, PAGE_SIZE } from '../../src/index.ts';
import { HMM_PFN_REQ_FAULT, HMM_PFN_VALID, hmmRangeFault } from '../../src/mm/hmm.ts';
import { hmmRange, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(4);
  const range = { ...(await hmmRange(at, 4)), defaultFlags: HMM_PFN_REQ_FAULT };
  const fault = async (): Promise<number> => {
    await at.mm.mmapLock.readLock();
    const status = await hmmRangeFault(range);
    at.mm.mmapLock.readUnlock();
    return status;
  };
  // 0 stands for all pages: there is no success for a part of them.
  assert.equal(await fault(), 0);
  assert.equal(range.hmmPfns.filter((entry) => (entry & HMM_PFN_VALID) !== 0).length, 4);

  await at.process.munmap(at.addr + 2 * PAGE_SIZE, 2 * PAGE_SIZE);
  range.hmmPfns.fill(0);
  range.notifierSeq = range.notifier.invalidateSeq;
  assert.equal(await fault(), errno.EFAULT);
  await at.machine.close();
}
