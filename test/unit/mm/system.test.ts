import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, PFN_LIMIT } from '../../../src/base/units.ts';
import {
  createSystem,
  releaseMemRegion,
  requestFreeMemRegion,
  requestMemRegion,
} from '../../../src/mm/system.ts';
import { checkInvariants } from '../../model/check-invariants.ts';
import { makeSystem } from './fixture.ts';

describe('createSystem', () => {
  test('a fresh machine has every invariant and all RAM but two pages free', () => {
    const sys = makeSystem(64, 32);
    checkInvariants(sys, { deviceFree: new Set() });
    expect(sys.pageAllocator.freePages).toBe(62);
    expect(sys.mem.pageCount).toBe(96);
    expect(sys.ram.length).toBe(64 * PAGE_SIZE);
  });

  test('uses the buffer that it is given, and clears its zero page', () => {
    const ram = new SharedArrayBuffer(16 * PAGE_SIZE);
    new Uint8Array(ram).fill(0xff);
    const sys = createSystem({ ramBytes: 16 * PAGE_SIZE, devicePages: 0, ram });
    if (typeof sys === 'number') throw new Error('refused');
    expect(sys.ram.buffer).toBe(ram);
    checkInvariants(sys);
  });

  test.each([
    ['a RAM size that is no whole page', 64 * PAGE_SIZE + 1, 0],
    ['less than four pages', 3 * PAGE_SIZE, 0],
    ['more than 4 GiB', 2 ** 32 + PAGE_SIZE, 0],
    ['NaN', Number.NaN, 0],
    ['a negative device', 64 * PAGE_SIZE, -1],
    ['half a device page', 64 * PAGE_SIZE, 0.5],
    ['more pfns than there are', 64 * PAGE_SIZE, PFN_LIMIT - 63],
  ])('refuses %s', (_name, ramBytes, devicePages) => {
    expect(createSystem({ ramBytes, devicePages })).toBe(errno.EINVAL);
  });

  test('refuses a buffer of another size', () => {
    const ram = new SharedArrayBuffer(8 * PAGE_SIZE);
    expect(createSystem({ ramBytes: 16 * PAGE_SIZE, devicePages: 0, ram })).toBe(errno.EINVAL);
  });

  test('coherent frames follow RAM in the same memory, and are not handed out as RAM [F13]', () => {
    const sys = makeSystem(16, 8, 256, 4);
    expect([sys.ramPages, sys.hostPages, sys.mem.pageCount]).toEqual([16, 20, 28]);
    expect([sys.ram.length, sys.pageAllocator.freePages]).toEqual([20 * PAGE_SIZE, 14]);
    expect(requestFreeMemRegion(sys, 8)).toBe(20);
    checkInvariants(sys, { deviceFree: new Set() });
  });

  test.each([
    ['half a coherent page', 0.5],
    ['negative ones', -1],
    ['RAM and coherent memory beyond 4 GiB', 2 ** 20 - 15],
  ])('refuses %s', (_name, coherentPages) => {
    const ram = { ramBytes: 16 * PAGE_SIZE, devicePages: 0 };
    expect(createSystem({ ...ram, coherentPages })).toBe(errno.EINVAL);
  });

  test('the buffer that it is given holds both kinds', () => {
    const sizes = { ramBytes: 16 * PAGE_SIZE, devicePages: 0, coherentPages: 4 };
    const ram = new SharedArrayBuffer(16 * PAGE_SIZE);
    expect(createSystem({ ...sizes, ram })).toBe(errno.EINVAL);
    expect(createSystem({ ...sizes, ram: new SharedArrayBuffer(20 * PAGE_SIZE) })).not.toBe(
      errno.EINVAL,
    );
  });

  test('takes four pages, the smallest machine', () => {
    expect(makeSystem(4, 0).pageAllocator.freePages).toBe(2);
  });
});

describe('device regions', () => {
  test('start right above RAM and follow each other', () => {
    const sys = makeSystem(64, 32);
    expect(requestFreeMemRegion(sys, 10)).toBe(64);
    expect(requestFreeMemRegion(sys, 22)).toBe(74);
    expect(requestFreeMemRegion(sys, 1)).toBe(errno.ENOMEM);
  });

  test('a released region is reused, the first gap that fits', () => {
    const sys = makeSystem(64, 32);
    const first = requestFreeMemRegion(sys, 8);
    requestFreeMemRegion(sys, 8);
    expect(releaseMemRegion(sys, first)).toBe(0);
    expect(requestFreeMemRegion(sys, 9)).toBe(80);
    expect(requestFreeMemRegion(sys, 8)).toBe(64);
  });

  test('are also given where the driver says, once [F13]', () => {
    const sys = makeSystem(64, 32, 256, 16);
    expect(requestMemRegion(sys, 72, 8)).toBe(0);
    expect(requestMemRegion(sys, 64, 8)).toBe(0);
    expect([requestMemRegion(sys, 64, 1), requestMemRegion(sys, 79, 2)]).toEqual([
      errno.EBUSY,
      errno.EBUSY,
    ]);
    expect(requestFreeMemRegion(sys, 32)).toBe(80);
    expect(releaseMemRegion(sys, 72)).toBe(0);
    expect(requestMemRegion(sys, 71, 2)).toBe(errno.EBUSY);
    expect(requestMemRegion(sys, 72, 8)).toBe(0);
  });

  test.each([
    ['in RAM', 63, 1],
    ['of no pages', 64, 0],
    ['at half a page', 64.5, 1],
    ['beyond the pfn space', 64, 49],
  ])('EINVAL: %s', (_what, startPfn, nrPages) => {
    const sys = makeSystem(64, 32, 256, 16);
    expect(requestMemRegion(sys, startPfn, nrPages)).toBe(errno.EINVAL);
    expect(sys.deviceRegions).toEqual([]);
  });

  test('refuses lengths that are none, and ranges that were never given', () => {
    const sys = makeSystem(64, 32);
    expect(requestFreeMemRegion(sys, 0)).toBe(errno.EINVAL);
    expect(requestFreeMemRegion(sys, 1.5)).toBe(errno.EINVAL);
    expect(releaseMemRegion(sys, 64)).toBe(errno.EINVAL);
  });
});
