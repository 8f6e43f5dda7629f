import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { clearHighpage, copyHighpage } from '../../../src/mm/highmem.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_BUDDY, PG_DIRTY } from '../../../src/mm/page.ts';
import { checkInvariants, findProblems } from '../../model/check-invariants.ts';
import { makeSystem } from './fixture.ts';

describe('allocPage', () => {
  test('hands out a page with one reference and no flag', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    expect(sys.mem.refcount[pfn]).toBe(1);
    expect(sys.mem.flags[pfn]).toBe(0);
    expect(sys.mem.mapping[pfn]).toBe(0);
    expect(sys.vmstat.read('pgalloc')).toBe(1);
  });

  test('hands out every RAM page but pfn 0 and the zero page, each once, ascending', () => {
    const sys = makeSystem(16, 8);
    const pfns = Array.from({ length: 14 }, () => allocPage(sys));
    expect(pfns).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    expect(sys.pageAllocator.freePages).toBe(0);
    expect(allocPage(sys)).toBe(errno.ENOMEM);
  });

  test('reuses the page that was freed last', () => {
    const sys = makeSystem();
    const first = allocPage(sys);
    const second = allocPage(sys);
    putPage(sys, first);
    putPage(sys, second);
    expect(allocPage(sys)).toBe(second);
    expect(allocPage(sys)).toBe(first);
  });

  test('failAt fails exactly the nth allocation, once [F119]', () => {
    const sys = makeSystem();
    sys.pageAllocator.failAt = 2;
    expect(allocPage(sys)).toBeGreaterThan(0);
    const free = sys.pageAllocator.freePages;
    expect(allocPage(sys)).toBe(errno.ENOMEM);
    expect(sys.pageAllocator.freePages).toBe(free);
    expect(allocPage(sys)).toBeGreaterThan(0);
  });

  test('I6: a page on the free list that somebody refers to is a bug', () => {
    const sys = makeSystem();
    sys.mem.refcount[sys.pageAllocator.firstFree] = 1;
    expect(() => allocPage(sys)).toThrow('I6');
  });
});

describe('putPage', () => {
  test('frees on the last reference, not before', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    sys.mem.getPage(pfn);
    putPage(sys, pfn);
    expect(sys.mem.refcount[pfn]).toBe(1);
    expect(sys.vmstat.read('pgfree')).toBe(0);
    putPage(sys, pfn);
    expect(sys.mem.refcount[pfn]).toBe(0);
    expect(sys.mem.testFlag(pfn, PG_BUDDY)).toBe(true);
    expect(sys.vmstat.read('pgfree')).toBe(1);
    checkInvariants(sys);
  });

  test('a freed page forgets its flags, mapping and index', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    sys.mem.setFlag(pfn, PG_DIRTY | PG_ANON_EXCLUSIVE);
    sys.mem.mapping[pfn] = 3;
    sys.mem.index[pfn] = 77;
    putPage(sys, pfn);
    expect(sys.mem.flags[pfn]).toBe(PG_BUDDY);
    expect(sys.mem.mapping[pfn]).toBe(0);
    expect(sys.mem.index[pfn]).toBe(0);
  });

  test('I1: a free page takes no reference', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    expect(sys.mem.getPageUnlessZero(pfn)).toBe(true);
    putPage(sys, pfn);
    putPage(sys, pfn);
    expect(sys.mem.getPageUnlessZero(pfn)).toBe(false);
    expect(() => sys.mem.getPage(pfn)).toThrow('I1');
  });

  test('I6: a reference too many dropped is a bug', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    putPage(sys, pfn);
    expect(() => putPage(sys, pfn)).toThrow('I6');
  });

  test('I7: freeing a mapped page is a bug', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    sys.mem.mapcount[pfn] = 1;
    expect(() => putPage(sys, pfn)).toThrow('I7');
  });

  test('I8: freeing a locked page is a bug', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    sys.mem.trylockPage(pfn);
    expect(() => putPage(sys, pfn)).toThrow('I8');
  });

  test('I9: freeing the zero page is a bug', () => {
    const sys = makeSystem();
    expect(() => putPage(sys, sys.zeroPfn)).toThrow('I9');
  });
});

describe('page contents', () => {
  test('clearHighpage and copyHighpage touch one page and not its neighbours', () => {
    const sys = makeSystem();
    sys.ram.fill(0xaa, 4 * PAGE_SIZE, 8 * PAGE_SIZE);
    clearHighpage(sys, 5);
    sys.ram.fill(0x11, 6 * PAGE_SIZE, 7 * PAGE_SIZE);
    copyHighpage(sys, 4, 6);
    const edges = [4, 5, 6, 7].map((pfn) => [
      sys.ram[pfn * PAGE_SIZE],
      sys.ram[(pfn + 1) * PAGE_SIZE - 1],
    ]);
    expect(edges).toEqual([
      [0x11, 0x11],
      [0, 0],
      [0x11, 0x11],
      [0xaa, 0xaa],
    ]);
  });

  test('I5: the CPU can reach the last RAM page, and no device page [F12]', () => {
    const sys = makeSystem(16, 8);
    clearHighpage(sys, 15);
    copyHighpage(sys, 14, 15);
    expect(() => clearHighpage(sys, 16)).toThrow('I5');
    expect(() => copyHighpage(sys, 16, 3)).toThrow('I5');
    expect(() => copyHighpage(sys, 3, 16)).toThrow('I5');
  });
});

test('I5: the CPU reaches coherent frames as it reaches RAM, and no frame beyond [F13]', () => {
  const sys = makeSystem(16, 8, 256, 4);
  sys.ram.fill(0x77, 18 * PAGE_SIZE, 20 * PAGE_SIZE);
  clearHighpage(sys, 18);
  copyHighpage(sys, 15, 19);
  expect([sys.ram[18 * PAGE_SIZE], sys.ram[15 * PAGE_SIZE]]).toEqual([0, 0x77]);
  expect(() => clearHighpage(sys, 20)).toThrow('I5');
  expect(() => copyHighpage(sys, 3, 20)).toThrow('I5');
});

describe('the checker of a machine at rest', () => {
  test('C1 finds a leaked reference, and knows one that it is told of', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    expect(findProblems(sys)).toEqual([`C1: page ${pfn} refcount 1, owed 0`]);
    expect(findProblems(sys, { references: new Map([[pfn, 1]]) })).toEqual([]);
  });

  test('C2 finds a frame that is neither free nor used', () => {
    const sys = makeSystem();
    const pfn = sys.pageAllocator.pop();
    expect(findProblems(sys).join()).toContain(`C2: page ${pfn}`);
  });

  test('C4 finds a page that was left locked', () => {
    const sys = makeSystem();
    const pfn = allocPage(sys);
    sys.mem.trylockPage(pfn);
    const problems = findProblems(sys, { references: new Map([[pfn, 1]]) });
    expect(problems).toEqual([`C4: page ${pfn} locked or awaited at rest`]);
  });

  test('C11 finds a loop in the free list', () => {
    const sys = makeSystem();
    const first = sys.pageAllocator.firstFree;
    sys.mem.zoneDeviceData[sys.mem.zoneDeviceData[first]!] = first;
    expect(findProblems(sys).join()).toContain('C11: the free list has a loop');
  });

  test('C14 finds a byte in the zero page', () => {
    const sys = makeSystem();
    sys.ram[sys.zeroPfn * PAGE_SIZE + 100] = 1;
    expect(findProblems(sys)).toEqual(['C14: the zero page has been written']);
  });
});
