/**
 * The books of a run whose regions change: more pages, fewer, and memory that blocks take whole.
 */
import { describe, expect, test } from 'vitest';
import { plainRegion } from '../../../../src/driver/policy/access-trace.ts';
import { ON_DEVICE } from '../../../../src/driver/policy/policy.ts';
import { Residency } from '../../../../src/driver/policy/residency.ts';

describe('regions that come later', () => {
  test('have room up to the limit, and not beyond', () => {
    const space = new Residency([plainRegion(0, 100)], 64, 2000);
    expect([space.pageCount, space.capacity, space.where.length]).toEqual([512, 2048, 2048]);
    space.toDevice(7, false, false);
    space.replaceRegions([plainRegion(0, 100), plainRegion(1500, 100)]);
    expect(space.pageCount).toBe(2048);
    expect([space.regionOf(99), space.regionOf(100), space.regionOf(1599)].map(Boolean)).toEqual([
      true,
      false,
      true,
    ]);
    space.toDevice(1599, false, false);
    expect([space.where[7], space.where[1599], space.residentPages]).toEqual([
      ON_DEVICE,
      ON_DEVICE,
      2,
    ]);
    expect(() => space.replaceRegions([plainRegion(2000, 49)])).toThrow(/where there may be/);
    space.replaceRegions([plainRegion(2000, 48)]);
  });

  test('pages once known are known for good', () => {
    const space = new Residency([plainRegion(0, 1024)], 64, 2048);
    space.replaceRegions([]);
    expect([space.pageCount, space.regionOf(3)]).toEqual([1024, undefined]);
  });

  test('without a limit there is room for what there is', () => {
    const space = new Residency([plainRegion(0, 513)], 64);
    expect([space.pageCount, space.capacity]).toEqual([1024, 1024]);
  });
});

describe('blocks that take memory whole', () => {
  function whole(): Residency {
    const space = new Residency([plainRegion(0, 300)], 4096);
    space.wholeBlocks = true;
    return space;
  }

  test('give it back with their last page', () => {
    const space = whole();
    space.toDevice(3, false, false);
    space.toDevice(4, false, false);
    expect(space.usedPages).toBe(300);
    space.toRam(3);
    expect(space.usedPages).toBe(300);
    space.toRam(4);
    expect(space.usedPages).toBe(0);
  });

  test('also where the region is gone before the page', () => {
    const space = whole();
    space.toDevice(3, false, false);
    space.replaceRegions([]);
    expect(space.usedPages).toBe(1);
    space.toRam(3);
    expect(space.usedPages).toBe(0);
    // And where it has grown since.
    space.replaceRegions([plainRegion(0, 300)]);
    space.toDevice(3, false, false);
    space.replaceRegions([plainRegion(0, 512)]);
    expect(space.usedPages).toBe(512);
    space.toRam(3);
    expect(space.usedPages).toBe(0);
  });

  test('a page that somebody else put where there is no region takes its own', () => {
    const space = whole();
    space.replaceRegions([]);
    space.toDevice(9, false, false, true);
    expect(space.usedPages).toBe(1);
    space.toRam(9);
    expect(space.usedPages).toBe(0);
  });
});
