/** A run's Chrome trace, read back by a reader of the trace event format. */
import { expect, test } from 'vitest';
import { chromeTrace } from '../../../../src/driver/policy/chrome-trace.ts';
import { FaultLives, STAGES } from '../../../../src/driver/policy/fault-lives.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { readSlices } from './chrome-reader.ts';
import { policyByName, runModel } from './rig.ts';

const trace = makeWorkload('stream', { pages: 3000 });

test('each fault is a slice with its stages inside, in order, from raised to replayed', () => {
  const lives = new FaultLives();
  const result = runModel(trace, policyByName('uvm'), { lives, devicePages: 2500 });
  const slices = readSlices(JSON.stringify(chromeTrace(result, lives)));
  expect(slices.length).toBe(lives.begun);
  const seen = new Set<string>();
  for (const { from, to, children, args } of slices) {
    const times = STAGES.map((stage) => Number(args[`${stage}Us`]));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect([times[0], times.at(-1)]).toEqual([from, to]);
    let at = from;
    for (const child of children) {
      seen.add(child.name);
      expect(child.from).toBe(at);
      at = child.to;
    }
    expect(at).toBe(to);
  }
  // Allocating and mapping take no time of their own in the cost model.
  const instant = ['raised', 'allocated', 'mapped'];
  const timed = STAGES.filter((stage) => !instant.includes(stage));
  expect(timed.filter((stage) => !seen.has(stage))).toEqual([]);
  expect(slices[0]!.args).toMatchObject({ outcome: 'moved', batch: 0 });
});

test('the counts, the costs and the policy of the run go with it', () => {
  const lives = new FaultLives();
  const result = runModel(trace, policyByName('tbn'), { lives });
  const { otherData } = chromeTrace(result, lives);
  expect(otherData).toMatchObject({ policy: 'tbn', counts: result.counts, cost: result.cost });
});

test('the ring keeps the latest lives, and says how many there were', () => {
  const lives = new FaultLives(100);
  const result = runModel(trace, policyByName('uvm'), { lives });
  const file = chromeTrace(result, lives);
  expect(readSlices(JSON.stringify(file)).length).toBe(100);
  expect(file.otherData).toMatchObject({ faultsKept: 100, faultsSeen: lives.begun });
});
