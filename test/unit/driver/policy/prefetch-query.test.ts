/** Queries about one prefetch decision: what they accept, and what is said of a wrong one. */
import { expect, test } from 'vitest';
import { answerPrefetchQuery } from '../../../../src/driver/policy/prefetch-query.ts';

test('pages are numbers and pairs [first, end)', () => {
  const answer = answerPrefetchQuery({ policy: 'none', faulted: [3, [8, 10]], resident: [8] });
  expect(answer).toEqual({ moved: [3, 9], faults: 2 });
});

test.each([
  ['UVM51', 'uvm', 6],
  ['SL', 'sl64k', 32],
  ['TBN', 'tbn', 6],
  ['off', 'none', 512],
])('policy %s is %s', (alias, policy, faults) => {
  const answer = answerPrefetchQuery({ policy: alias, sequence: 'forward' });
  expect(answer).toEqual(answerPrefetchQuery({ policy, sequence: 'forward' }));
  expect(answer.faults).toBe(faults);
});

test('an empty query moves nothing', () => {
  expect(answerPrefetchQuery({})).toEqual({ moved: [], faults: 0 });
});

test('a sequence may hold batches, and counts only what is not there', () => {
  const answer = answerPrefetchQuery({ policy: 'sl64k', sequence: [[0, 16], 5, [40, 41]] });
  expect(answer.faults).toBe(4);
  expect(answer.steps).toEqual([32, 16]);
});

test('random prefetch brings at most one page besides, the same for the same seed', () => {
  const one = answerPrefetchQuery({ policy: 'random', faulted: [7], seed: 3 });
  expect(one.moved.length).toBeLessThanOrEqual(2);
  expect(answerPrefetchQuery({ policy: 'random', faulted: [7], seed: 3 })).toEqual(one);
});

test('a region may end at 512 and begin at 511, not beyond', () => {
  expect(answerPrefetchQuery({ region: [511, 512], faulted: [511] }).moved).toEqual([511]);
  expect(() => answerPrefetchQuery({ region: [512, 513] })).toThrow('from 0 to 511, not 512');
});

test.each([
  [null, 'must be an object'],
  [[1], 'must be an object'],
  [{ fault: [0] }, "knows no field 'fault'"],
  [{ policy: 'fifo' }, 'policy is one of uvm, tbn, sl64k, random, none, not "fifo"'],
  [{ faulted: [512] }, 'faulted takes whole numbers from 0 to 511, not 512'],
  [{ faulted: [-1] }, 'not -1'],
  [{ faulted: [0.5] }, 'not 0.5'],
  [{ faulted: 3 }, 'faulted is a list of pages'],
  [{ resident: [[1, 2, 3]] }, 'no pair'],
  [{ faulted: [[9, 4]] }, 'from 9 to 512, not 4'],
  [{ region: [5] }, 'region is a pair'],
  [{ region: [5, 5] }, 'from 6 to 512, not 5'],
  [{ region: [5, 105], faulted: [4] }, 'page 4 is touched, outside the region [5, 105)'],
  [{ region: [5, 105], sequence: [105] }, 'page 105 is touched, outside'],
  [{ threshold: 101 }, 'threshold takes whole numbers from 0 to 100, not 101'],
  [{ sequence: 'backward' }, 'sequence is a list'],
  [{ sequence: [[600]] }, 'not 600'],
])('%j is refused: %s', (query, message) => {
  expect(() => answerPrefetchQuery(query)).toThrow(message);
});
