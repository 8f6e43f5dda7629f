import assert from 'node:assert/strict';
import {
  HMM_DMIRROR_PROT_NONE,
  HMM_DMIRROR_PROT_WRITE,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { hmmRangeFault } from '../../src/mm/hmm.ts';
import { hmmRange, start, validity } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(2);
  const { machine, process, device, addr, mm } = at;
  await process.munmap(addr, PAGE_SIZE);
  const again = { addr, length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE };
  assert.equal(await process.mmap(again), addr);

  // No request in the range means: look, don't touch. Page 0 is a hole and stays one.
  const range = await hmmRange(at, 2);
  await mm.mmapLock.readLock();
  assert.equal(await hmmRangeFault(range), 0);
  mm.mmapLock.readUnlock();
  assert.equal(validity(range), '-v');

  // The test device has a command for it.
  const out = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
  await device.ioctl('SNAPSHOT', { addr, ptr: out, npages: 2 });
  const seen = [...(await process.read(out, 2))];
  assert.deepEqual(seen, [HMM_DMIRROR_PROT_NONE, HMM_DMIRROR_PROT_WRITE]);
  assert.equal((await machine.counters()).vm['hmm_fault'], 0);
  await machine.close();
}
