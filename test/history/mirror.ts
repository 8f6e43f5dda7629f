import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../src/index.ts';
import { HMM_PFN_REQ_FAULT, hmmRangeFault } from '../../src/mm/hmm.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../src/mm/mmu-notifier.ts';
import { start } from './machine.ts';

export async function example(): Promise<void> {
  const { machine, process, mm, addr } = await start(2);
  const length = 2 * PAGE_SIZE;
  // Instead of hmm_mirror_register and hmm_range_register: one subscription to a range.
  const notifier = newMmuIntervalNotifier(null);
  const status = mmuIntervalNotifierInsert(notifier, mm, addr, length, {
    invalidate: (sub, _range, seq) => {
      mmuIntervalSetSeq(sub, seq);
      return true;
    },
  });
  assert.equal(status, 0);

  // Instead of hmm_range_wait_until_valid: read_begin waits, and gives the number to compare with.
  const notifierSeq = await mmuIntervalReadBegin(notifier);
  const hmmPfns = new Uint32Array(2);
  const request = { defaultFlags: HMM_PFN_REQ_FAULT, pfnFlagsMask: 0, devPrivateOwner: null };
  await mm.mmapLock.readLock();
  const range = { notifier, notifierSeq, start: addr, end: addr + length, hmmPfns, ...request };
  assert.equal(await hmmRangeFault(range), 0);
  mm.mmapLock.readUnlock();
  // Instead of hmm_range_valid, under the driver's lock: nothing has changed since.
  assert.equal(mmuIntervalReadRetry(notifier, notifierSeq), false);

  await process.munmap(addr, PAGE_SIZE);
  assert.equal(mmuIntervalReadRetry(notifier, notifierSeq), true);
  await mmuIntervalNotifierRemove(notifier);
  await machine.close();
}
