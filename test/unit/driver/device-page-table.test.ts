/** The device page table against a plain map, and its boundaries. */
import { expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { DPT_WRITE, DevicePageTable, dptPfn } from '../../../src/driver/device-page-table.ts';

test('a stored page is found with its frame and permission, its neighbours are not', () => {
  const table = new DevicePageTable();
  table.store(513, 0x7fffff, true);
  table.store(514, 7, false);
  expect(dptPfn(table.lookup(513))).toBe(0x7fffff);
  expect(table.lookup(513) & DPT_WRITE).toBe(DPT_WRITE);
  expect(table.lookup(514) & DPT_WRITE).toBe(0);
  expect([table.lookup(512), table.lookup(515), table.lookup(1)]).toEqual([0, 0, 0]);
  expect(table.mapped).toBe(2);
});

test('a run gets neighbouring frames, across leaves, and nothing beside it', () => {
  const table = new DevicePageTable();
  table.store(1024, 5, false);
  table.storeRun(510, 0x7ff000, 600, true);
  const pages = [510, 511, 512, 1023, 1024, 1109];
  expect(pages.map((page) => dptPfn(table.lookup(page)) - 0x7ff000)).toEqual(
    pages.map((page) => page - 510),
  );
  expect(pages.every((page) => (table.lookup(page) & DPT_WRITE) !== 0)).toBe(true);
  expect([table.lookup(509), table.lookup(1110)]).toEqual([0, 0]);
  expect(table.mapped).toBe(600);
  table.storeRun(512, 9, 2, false);
  expect([512, 513].map((page) => table.lookup(page) & DPT_WRITE)).toEqual([0, 0]);
  expect(table.mapped).toBe(600);
});

test.each([510, 511, 512, 1023, 1024, 1109])('all of a range is mapped but page %i', (page) => {
  const table = new DevicePageTable();
  table.storeRun(510, 7, 600, true);
  expect(table.mapsAll(510, 600)).toBe(true);
  table.erase(page);
  expect(table.mapsAll(510, 600)).toBe(false);
  expect(table.mapsAll(510, page - 510)).toBe(true);
  expect(table.mapsAll(page + 1, 1109 - page)).toBe(true);
});

test('a range is not mapped where there is no leaf, or behind its end', () => {
  const table = new DevicePageTable();
  table.storeRun(0, 7, 512, true);
  expect([table.mapsAll(0, 512), table.mapsAll(0, 513), table.mapsAll(512, 1)]).toEqual([
    true,
    false,
    false,
  ]);
});

test('storing a page again replaces the entry and counts it once', () => {
  const table = new DevicePageTable();
  table.store(9, 1, true);
  table.store(9, 2, false);
  expect([dptPfn(table.lookup(9)), table.lookup(9) & DPT_WRITE, table.mapped]).toEqual([2, 0, 1]);
});

test('erasing a range takes its first and last page and neither neighbour', () => {
  const table = new DevicePageTable();
  for (let page = 510; page < 1540; page++) table.store(page, page, true);
  table.eraseRange(511 * PAGE_SIZE, 1537 * PAGE_SIZE);
  expect([table.lookup(510), table.lookup(1537)].map(dptPfn)).toEqual([510, 1537]);
  expect([table.lookup(511), table.lookup(1024), table.lookup(1536)]).toEqual([0, 0, 0]);
  expect(table.mapped).toBe(1 + 3);
});

test('erasing the whole address space empties the table', () => {
  const table = new DevicePageTable();
  table.store(TASK_SIZE / PAGE_SIZE - 1, 3, true);
  table.store(0, 4, true);
  table.eraseRange(0, TASK_SIZE);
  expect(table.mapped).toBe(0);
  expect(table.lookup(0)).toBe(0);
});

test('random stores and erasures agree with a map', () => {
  const seed = 20261121;
  const prng = new Prng(seed);
  const table = new DevicePageTable();
  const model = new Map<number, number>();
  for (let step = 0; step < 4000; step++) {
    const page = prng.below(3000);
    if (prng.chance(0.9)) {
      const pfn = 1 + prng.below(1000);
      table.store(page, pfn, prng.chance(0.5));
      model.set(page, pfn);
    } else {
      const end = page + prng.below(1200);
      table.eraseRange(page * PAGE_SIZE, end * PAGE_SIZE);
      for (let i = page; i < end; i++) model.delete(i);
    }
  }
  const found = new Map<number, number>();
  table.forEach((page, entry) => found.set(page, dptPfn(entry)));
  expect(new Map([...found].sort(([a], [b]) => a - b)), `seed ${seed}`).toEqual(
    new Map([...model].sort(([a], [b]) => a - b)),
  );
  expect(table.mapped).toBe(model.size);
});

test('all who listen hear of what is erased, those who have stopped do not', () => {
  const table = new DevicePageTable();
  const heard: string[] = [];
  const one = (first: number, end: number): void => void heard.push(`one ${first} ${end}`);
  const two = (first: number, end: number): void => void heard.push(`two ${first} ${end}`);
  expect(table.isHeard).toBe(false);
  table.listen(one);
  table.listen(two);
  table.store(5, 1, true);
  table.erase(5);
  table.unlisten(one);
  table.eraseRange(3 * PAGE_SIZE, 9 * PAGE_SIZE);
  table.unlisten(two);
  table.erase(5);
  expect(heard).toEqual(['one 5 6', 'two 5 6', 'two 3 9']);
  expect(table.isHeard).toBe(false);
});
