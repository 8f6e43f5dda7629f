/* Sets of pages as tables: they do what a Set and a Map do. */
import { expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { PageNotes, PageSet } from '../../../src/driver/page-set.ts';

test('a set of pages does what a Set does, the order included', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const prng = new Prng(seed);
    const [ours, model] = [new PageSet(), new Set<number>()];
    for (let step = 0; step < 8000; step++) {
      // Pages of few tables, so that many of them come again; now and then one far away.
      const page = prng.below(50) === 0 ? prng.below(2 ** 20) : prng.below(300);
      if (prng.below(100) < 55) {
        ours.add(page);
        model.add(page);
      } else if (ours.delete(page) !== model.delete(page)) expect.fail(`seed ${seed}: delete`);
      const isAlike = ours.has(page) === model.has(page) && ours.size === model.size;
      if (!isAlike) expect.fail(`seed ${seed}, step ${step}: page ${page}`);
      const oldest = model.values().next().value ?? -1;
      if (ours.oldest() !== oldest) expect.fail(`seed ${seed}, step ${step}: oldest`);
      if (step % 500 === 0) expect([...ours.inOrder()], `seed ${seed}`).toEqual([...model]);
    }
    expect([...ours.inOrder()], `seed ${seed}`).toEqual([...model]);
    ours.clear();
    expect([ours.size, ours.has([...model][0]!), [...ours.inOrder()]]).toEqual([0, false, []]);
  }
});

test('what has left is forgotten: the order is no longer than twice the pages and a table', () => {
  const set = new PageSet();
  for (let round = 0; round < 100; round++) {
    for (let page = 0; page < 1000; page++) set.add(page);
    for (let page = 0; page < 1000; page++) set.delete(page);
  }
  set.add(7);
  expect([...set.inOrder()]).toEqual([7]);
  const { count } = set as unknown as { count: number };
  expect(count).toBeLessThanOrEqual(2 * 1 + 512 + 1);
});

test('notes are what was set last, none where nothing was, and go all at once', () => {
  const notes = new PageNotes();
  expect([notes.get(0), notes.get(511), notes.get(2 ** 20 - 1)]).toEqual([0, 0, 0]);
  notes.set(511, 1);
  notes.set(512, 2);
  notes.set(511, 255);
  expect([510, 511, 512, 513].map((page) => notes.get(page))).toEqual([0, 255, 2, 0]);
  notes.set(512, 0);
  expect([notes.get(511), notes.get(512)]).toEqual([255, 0]);
  notes.clear();
  expect([notes.get(511), notes.get(512)]).toEqual([0, 0]);
  // A table that was cleared is cleared again.
  notes.set(511, 3);
  notes.clear();
  expect(notes.get(511)).toBe(0);
});
