/** What is kept of a run's batches: a bounded number of them, the last ones, in order. */
import { expect, test } from 'vitest';
import { BATCHES_KEPT, BatchLog } from '../../../../src/driver/policy/batch-log.ts';
import { chromeTrace } from '../../../../src/driver/policy/chrome-trace.ts';
import { FaultLives } from '../../../../src/driver/policy/fault-lives.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { policyByName, runModel } from './rig.ts';

function noted(log: BatchLog, count: number): BatchLog {
  for (let i = 0; i < count; i++) log.note(i, i * 2, i * 3);
  return log;
}

test.each([0, 1, 7, 255, 256, 257, 300, 512])('%i batches of at most 300 are all kept', (count) => {
  const { batchesDropped, batchStartUs, batchUs, batchEvictions } = noted(
    new BatchLog(300),
    count,
  ).last();
  const kept = Math.min(count, 300);
  const numbers = Array.from({ length: kept }, (_, i) => count - kept + i);
  expect(batchesDropped).toBe(count - kept);
  expect(batchStartUs).toEqual(numbers);
  expect(batchUs).toEqual(numbers.map((one) => one * 2));
  expect(batchEvictions).toEqual(numbers.map((one) => one * 3));
});

test('a run of any length keeps as many as its report can take', () => {
  const log = noted(new BatchLog(), 3 * BATCHES_KEPT + 5);
  const { batchesDropped, batchUs } = log.last();
  expect([batchesDropped, batchUs.length, log.noted]).toEqual([
    2 * BATCHES_KEPT + 5,
    BATCHES_KEPT,
    3 * BATCHES_KEPT + 5,
  ]);
  expect(batchUs[0]).toBe((2 * BATCHES_KEPT + 5) * 2);
});

test('in a trace batches have the numbers that they had in the run', () => {
  const result = runModel(makeWorkload('stream', { pages: 3000 }), policyByName('uvm'));
  expect(result.batchUs.length).toBe(result.counts.batches);
  expect(result.batchesDropped).toBe(0);
  const late = { ...result, batchesDropped: 40 };
  const names = chromeTrace(late, new FaultLives()).traceEvents.filter(({ ph }) => ph === 'X');
  expect(names[0]!.name).toBe('batch 40');
});
