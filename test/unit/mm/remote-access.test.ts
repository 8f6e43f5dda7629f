/* One process at another's memory: process_vm_readv and _writev, and what a debugger does. */
import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { accessRemoteVm } from '../../../src/mm/access-remote-vm.ts';
import { FOLL_WRITE } from '../../../src/mm/gup.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { processVmReadv, processVmWritev } from '../../../src/mm/process-vm-access.ts';
import type { ProcessVmCopy } from '../../../src/mm/process-vm-access.ts';
import { copyFromUser, copyToUser } from '../../../src/mm/uaccess.ts';
import { expectSync, load, makeMm, mapAnon, store } from './fixture.ts';
import { checkAtRest, makeBench, mapFilled, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';
import { makeGate, waits } from './tiny-device.ts';

/** Bytes 1, 2, ... 251, 1, 2 ... */
function ramp(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i % 251) + 1);
}

function peek(mm: MmStruct, addr: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  expect(expectSync(copyFromUser(mm, addr, bytes))).toBe(0);
  return bytes;
}

/** A second process with `pages` private pages, and a copy from there of `length` bytes. */
function between(bench: Bench, remoteAddr: number, length: number, pages: number): ProcessVmCopy {
  const local = makeMm(bench.sys);
  const localAddr = mapAnon(local, pages);
  return { local, localAddr, remote: bench.mm, remoteAddr, length };
}

describe('process_vm_readv and process_vm_writev', () => {
  const PAGES = 40;

  test('copy any range, many pages at a time, and leave no pin behind', () => {
    const bench = makeBench();
    const base = mapAnon(bench.mm, PAGES);
    const bytes = ramp(PAGES * PAGE_SIZE - 30);
    expect(expectSync(copyToUser(bench.mm, base + 10, bytes))).toBe(0);
    const there = between(bench, base + 10, bytes.length, PAGES);
    const copy = { ...there, localAddr: there.localAddr + 3 };
    expect(expectSync(processVmReadv(copy))).toBe(bytes.length);
    expect(peek(copy.local, copy.localAddr, bytes.length).equals(bytes)).toBe(true);
    expect(bench.sys.vmstat.read('nr_foll_pin_acquired')).toBe(PAGES);
    checkAtRest(bench);
    store(copy.local, copy.localAddr, 0xaa);
    expect(expectSync(processVmWritev(copy))).toBe(bytes.length);
    expect([load(bench.mm, base + 9), load(bench.mm, base + 10)]).toEqual([0, 0xaa]);
    expect(peek(bench.mm, base + 11, bytes.length - 1).equals(bytes.subarray(1))).toBe(true);
    checkAtRest(bench);
  });

  test('bring pages home, of both sides [F68]', () => {
    const bench = makeBench();
    const base = mapOnDevice(bench, 3);
    const copy = between(bench, base, 3 * PAGE_SIZE, 3);
    store(copy.local, copy.localAddr, 9);
    expect(expectSync(bench.device.migrateIn(copy.local, copy.localAddr, 3))).toBe(3);
    expect(bench.device.used).toBe(6);
    expect(expectSync(processVmReadv(copy))).toBe(3 * PAGE_SIZE);
    expect(bench.sys.vmstat.read('device_private_fault')).toBe(6);
    expect(bench.device.used).toBe(0);
    const firsts = [0, 1, 2].map((i) => load(copy.local, copy.localAddr + i * PAGE_SIZE));
    expect(firsts).toEqual([1, 2, 3]);
    checkAtRest(bench);
  });

  test('a write to a device page is not lost on its way home [F68]', async () => {
    const bench = makeBench();
    const base = mapOnDevice(bench, 1);
    const copy = between(bench, base + 1, 1, 1);
    store(copy.local, copy.localAddr, 77);
    const { gate, open } = makeGate();
    bench.device.gate = gate;
    const written = processVmWritev(copy);
    expect(waits(written)).toBe(true);
    open();
    expect(await written).toBe(1);
    bench.device.gate = null;
    expect([load(bench.mm, base), load(bench.mm, base + 1)]).toEqual([1, 77]);
    checkAtRest(bench);
  });

  test('end where the other side is not mapped; EFAULT when that is at once', () => {
    const bench = makeBench();
    const base = mapFilled(bench.mm, 3);
    expectSync(doMunmap(bench.mm, base + 2 * PAGE_SIZE, PAGE_SIZE));
    const copy = between(bench, base + 100, 3 * PAGE_SIZE - 100, 3);
    expect(expectSync(processVmReadv(copy))).toBe(2 * PAGE_SIZE - 100);
    const hole = { ...copy, remoteAddr: base + 2 * PAGE_SIZE, length: 1 };
    expect(expectSync(processVmReadv(hole))).toBe(errno.EFAULT);
    expect(expectSync(processVmWritev(hole))).toBe(errno.EFAULT);
    checkAtRest(bench);
  });

  test('end where the own side is not mapped', () => {
    const bench = makeBench();
    const base = mapFilled(bench.mm, 3);
    const copy = between(bench, base, 3 * PAGE_SIZE, 3);
    expectSync(doMunmap(copy.local, copy.localAddr + PAGE_SIZE, PAGE_SIZE));
    expect(expectSync(processVmReadv(copy))).toBe(PAGE_SIZE);
    expect(expectSync(processVmWritev(copy))).toBe(PAGE_SIZE);
    checkAtRest(bench);
  });

  test('read what may be read only, and write what may be written only', () => {
    const bench = makeBench();
    const base = mapAnon(bench.mm, 1, PROT_READ);
    const copy = between(bench, base, 1, 1);
    expect(expectSync(processVmReadv(copy))).toBe(1);
    expect(expectSync(processVmWritev(copy))).toBe(errno.EFAULT);
  });

  test('numbers that are no addresses are EINVAL, those above user space EFAULT', () => {
    const bench = makeBench();
    const copy = between(bench, mapFilled(bench.mm, 1), 1, 1);
    for (const wrong of [Number.NaN, -1, 0.5]) {
      expect(processVmReadv({ ...copy, remoteAddr: wrong })).toBe(errno.EINVAL);
      expect(processVmReadv({ ...copy, localAddr: wrong })).toBe(errno.EINVAL);
      expect(processVmReadv({ ...copy, length: wrong })).toBe(errno.EINVAL);
    }
    expect(processVmReadv({ ...copy, remoteAddr: TASK_SIZE })).toBe(errno.EFAULT);
    expect(processVmReadv({ ...copy, localAddr: TASK_SIZE })).toBe(errno.EFAULT);
    expect(processVmReadv({ ...copy, length: 0 })).toBe(0);
  });
});

describe('access_remote_vm', () => {
  test('reads and writes across pages', () => {
    const bench = makeBench();
    const base = mapAnon(bench.mm, 3);
    const bytes = ramp(2 * PAGE_SIZE);
    expect(accessRemoteVm(bench.mm, base + 50, bytes, FOLL_WRITE)).toBe(bytes.length);
    const seen = new Uint8Array(bytes.length);
    expect(accessRemoteVm(bench.mm, base + 50, seen, 0)).toBe(seen.length);
    expect(Buffer.compare(seen, bytes)).toBe(0);
    expect(load(bench.mm, base + 49)).toBe(0);
    checkAtRest(bench);
  });

  test('brings device pages home, as the process itself would [F68]', async () => {
    const bench = makeBench();
    const base = mapOnDevice(bench, 3);
    const { gate, open } = makeGate();
    bench.device.gate = gate;
    const seen = new Uint8Array(2 * PAGE_SIZE);
    const done = accessRemoteVm(bench.mm, base, seen, 0);
    expect(waits(done)).toBe(true);
    open();
    expect(await done).toBe(seen.length);
    bench.device.gate = null;
    expect([seen[0], seen[PAGE_SIZE]]).toEqual([1, 2]);
    // The third page is nobody's business.
    expect(bench.sys.vmstat.read('device_private_fault')).toBe(2);
    expect(bench.device.used).toBe(1);
    expect(bench.mm.mmapLock.isLocked).toBe(false);
    checkAtRest(bench);
  });

  test('ends at the first page that the process may not access like that', () => {
    const bench = makeBench();
    const base = mapFilled(bench.mm, 2);
    expectSync(doMunmap(bench.mm, base + PAGE_SIZE, PAGE_SIZE));
    const bytes = new Uint8Array(2 * PAGE_SIZE);
    expect(accessRemoteVm(bench.mm, base + 6, bytes, 0)).toBe(PAGE_SIZE - 6);
    expect(accessRemoteVm(bench.mm, base + PAGE_SIZE, bytes, 0)).toBe(0);
    const readOnly = mapAnon(bench.mm, 1, PROT_READ);
    expect(accessRemoteVm(bench.mm, readOnly, bytes.subarray(0, 1), FOLL_WRITE)).toBe(0);
    expect(bench.mm.mmapLock.isLocked).toBe(false);
    checkAtRest(bench);
  });
});
