/*
 * checkCommandList against a naive twin, its boundaries, and the wrap of its stamps. The refusals
 * by kind are in test/contract/refusal-contract.ts, where every engine has to honour them.
 */
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { checkCommandList, createCheckScratch } from '../../../src/engine/check-list.ts';
import { CommandList, JOB_ADD, JOB_CHECKSUM, JOB_COPY } from '../../../src/engine/command-list.ts';

const geometry = { hostFrames: 12, vramFrames: 8 };

/** The rules as sentences: who reads and writes what, row by row; the first row that breaks one. */
function naiveFirstBad(list: CommandList): number {
  const readers = new Set<number>();
  const writers = new Set<number>();
  const end = geometry.hostFrames + geometry.vramFrames;
  for (let row = 0; row < list.length; row++) {
    const op = list.op[row]!;
    const count = list.count[row]!;
    const frames = (first: number): number[] => Array.from({ length: count }, (_, i) => first + i);
    const reads = op === JOB_COPY || op === JOB_CHECKSUM ? frames(list.source[row]!) : [];
    const writes = op === JOB_CHECKSUM ? [] : frames(list.target[row]!);
    const known = op >= 1 && op <= 4 && count > 0;
    const inside = [...reads, ...writes].every((frame) => frame < end);
    const unmixed = [reads, writes].every(
      (part) => new Set(part.map((frame) => frame < geometry.hostFrames)).size <= 1,
    );
    const addable = op !== JOB_ADD || writes.every((frame) => frame >= geometry.hostFrames);
    const clash =
      writes.some((frame) => readers.has(frame) || writers.has(frame) || reads.includes(frame)) ||
      reads.some((frame) => writers.has(frame));
    if (!known || !inside || !unmixed || !addable || clash) return row;
    for (const frame of reads) readers.add(frame);
    for (const frame of writes) writers.add(frame);
  }
  return -1;
}

const row = fc.record({
  op: fc.oneof(
    { weight: 9, arbitrary: fc.integer({ min: 1, max: 4 }) },
    { weight: 1, arbitrary: fc.nat(6) },
  ),
  source: fc.nat(21),
  target: fc.nat(21),
  count: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(3) }),
});

function listOf(rows: readonly { op: number; source: number; target: number; count: number }[]) {
  const list = new CommandList(Math.max(1, rows.length));
  for (const { op, source, target, count } of rows) {
    list.op[list.copy(source, target, count)] = op;
  }
  return list;
}

it('agrees with a naive check on random lists, one scratch for all of them', () => {
  const scratch = createCheckScratch(geometry);
  let refused = 0;
  let accepted = 0;
  // fast-check prints seed and path when this fails.
  fc.assert(
    fc.property(fc.array(row, { maxLength: 8 }), (rows) => {
      const list = listOf(rows);
      const wanted = naiveFirstBad(list);
      const code = checkCommandList(list, geometry, scratch);
      expect(list.firstBad).toBe(wanted);
      expect(code).toBe(wanted < 0 ? 0 : errno.EINVAL);
      if (code === 0) accepted += 1;
      else refused += 1;
    }),
    { numRuns: 3000 },
  );
  // Both answers must occur, or the comparison above says nothing.
  expect(refused).toBeGreaterThan(100);
  expect(accepted).toBeGreaterThan(100);
});

it('reads the same source any number of times', () => {
  const list = new CommandList(5);
  for (let i = 0; i < 4; i++) list.copy(0, geometry.hostFrames + i);
  list.checksum(0, 3);
  expect(checkCommandList(list, geometry, createCheckScratch(geometry))).toBe(0);
});

it('forgets an earlier list, refused or not', () => {
  const scratch = createCheckScratch(geometry);
  const list = listOf([
    { op: 1, source: 0, target: 13, count: 1 },
    { op: 1, source: 13, target: 1, count: 1 },
  ]);
  expect(checkCommandList(list, geometry, scratch)).toBe(errno.EINVAL);
  expect(list.firstBad).toBe(1);
  list.source[1] = 14;
  expect(checkCommandList(list, geometry, scratch)).toBe(0);
  expect(list.firstBad).toBe(-1);
});

it('starts its stamps over when the list number wraps', () => {
  const scratch = createCheckScratch(geometry, 127 - 3);
  const good = listOf([{ op: 1, source: 0, target: 13, count: 1 }]);
  const bad = listOf([
    { op: 1, source: 0, target: 13, count: 1 },
    { op: 2, source: 0, target: 13, count: 1 },
  ]);
  for (let i = 0; i < 6; i++) {
    expect(checkCommandList(good, geometry, scratch)).toBe(0);
    expect(checkCommandList(bad, geometry, scratch)).toBe(errno.EINVAL);
  }
  expect(scratch.epoch).toBeLessThan(20);
});

it('a frame that a list before the wrap wrote is free again, whatever the distance', () => {
  const scratch = createCheckScratch(geometry);
  const writes = listOf([{ op: 1, source: 0, target: 13, count: 1 }]);
  const reads = listOf([{ op: 1, source: 13, target: 1, count: 1 }]);
  for (let between = 120; between < 135; between++) {
    expect(checkCommandList(writes, geometry, scratch)).toBe(0);
    for (let i = 0; i < between; i++) checkCommandList(listOf([]), geometry, scratch);
    expect(checkCommandList(reads, geometry, scratch)).toBe(0);
    expect(checkCommandList(writes, geometry, scratch)).toBe(0);
  }
});
