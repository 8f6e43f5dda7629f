/* GUP of pages that a userfaultfd supplies: waited for only where the lock may be dropped. */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  FOLL_NOFAULT,
  FOLL_WRITE,
  getUserPages,
  getUserPagesUnlocked,
  pinUserPagesFast,
  putUserPages,
  unpinUserPages,
} from '../../../src/mm/gup.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { processVmReadv } from '../../../src/mm/process-vm-access.ts';
import { userfaultfdWake } from '../../../src/mm/userfaultfd-register.ts';
import { expectSync, load, makeMm, mapAnon, store } from './fixture.ts';
import { checkAtRest, makeBench, pfnAt } from './migration.ts';
import { waits } from './tiny-device.ts';
import { UffdRig } from './uffd-rig.ts';

test('with the lock of the caller, such a page is EFAULT', () => {
  const { mm } = makeBench();
  const addr = mapAnon(mm, 1);
  const rig = new UffdRig(mm);
  rig.register(addr, 1);
  expect(mm.mmapLock.readTrylock()).toBe(true);
  const pfns = new Uint32Array(1);
  expect(expectSync(getUserPages(mm, addr, 1, FOLL_WRITE, pfns))).toBe(errno.EFAULT);
  mm.mmapLock.readUnlock();
});

test('without it, the page is waited for with the lock dropped, then pinned', async () => {
  const bench = makeBench();
  const { mm, sys } = bench;
  const addr = mapAnon(mm, 2);
  const rig = new UffdRig(mm);
  rig.register(addr, 2);
  expect(await rig.copy(addr, 3)).toBe(PAGE_SIZE);
  const pfns = new Uint32Array(2);
  const pinned = pinUserPagesFast(mm, addr, 2, FOLL_WRITE, pfns);
  expect(waits(pinned)).toBe(true);
  expect(mm.mmapLock.isLocked).toBe(false);
  expect(await rig.copy(addr + PAGE_SIZE, 4)).toBe(PAGE_SIZE);
  expect(await pinned).toBe(2);
  expect(mm.mmapLock.isLocked).toBe(false);
  expect([...pfns]).toEqual([pfnAt(mm, addr), pfnAt(mm, addr + PAGE_SIZE)]);
  expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([3, 4]);
  unpinUserPages(sys, pfns);
  checkAtRest(bench);
});

test('what was unmapped during the wait is looked up again', async () => {
  const bench = makeBench();
  const { mm, sys } = bench;
  const addr = mapAnon(mm, 2);
  store(mm, addr, 1);
  const rig = new UffdRig(mm);
  rig.register(addr, 2);
  const pfns = new Uint32Array(2);
  const taken = getUserPagesUnlocked(mm, addr, 2, FOLL_WRITE, pfns);
  expect(waits(taken)).toBe(true);
  expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE));
  userfaultfdWake(rig.ctx, addr + PAGE_SIZE, PAGE_SIZE);
  expect(await taken).toBe(1);
  putUserPages(sys, pfns.subarray(0, 1));
  checkAtRest(bench);
});

test('NOFAULT asks nobody', () => {
  const { mm, sys } = makeBench();
  const addr = mapAnon(mm, 1);
  new UffdRig(mm).register(addr, 1);
  const pfns = new Uint32Array(1);
  const taken = getUserPagesUnlocked(mm, addr, 1, FOLL_NOFAULT, pfns);
  expect(expectSync(taken)).toBe(errno.EFAULT);
  expect(sys.vmstat.read('userfault')).toBe(0);
});

test('process_vm_readv waits for the monitor of the other process', async () => {
  const bench = makeBench();
  const { mm } = bench;
  const addr = mapAnon(mm, 1);
  const rig = new UffdRig(mm);
  rig.register(addr, 1);
  const local = makeMm(bench.sys);
  const localAddr = mapAnon(local, 1);
  const copied = processVmReadv({ local, localAddr, remote: mm, remoteAddr: addr, length: 9 });
  expect(waits(copied)).toBe(true);
  expect(await rig.copy(addr, 7)).toBe(PAGE_SIZE);
  expect(await copied).toBe(9);
  expect([load(local, localAddr + 8), load(local, localAddr + 9)]).toEqual([7, 0]);
  checkAtRest(bench);
});
