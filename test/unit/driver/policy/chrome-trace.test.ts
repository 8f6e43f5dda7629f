/** A run's Chrome trace, read back by a reader of the trace event format. */
import { expect, test } from 'vitest';
import { chromeTrace } from '../../../../src/driver/policy/chrome-trace.ts';
import { FaultLives, STAGES } from '../../../../src/driver/policy/fault-lives.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { policyByName, runModel } from './rig.ts';

interface ReadSlice {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly children: ReadSlice[];
  readonly args: Readonly<Record<string, unknown>>;
}

/** Reads asynchronous slices by category and id, as the viewers do; throws on what they refuse. */
function readSlices(text: string): ReadSlice[] {
  const file = JSON.parse(text) as { traceEvents: Record<string, unknown>[] };
  const open = new Map<string, ReadSlice[]>();
  const roots: ReadSlice[] = [];
  for (const event of file.traceEvents) {
    const { ph, ts, name, pid, tid } = event;
    if (typeof name !== 'string' || typeof ts !== 'number' || ts < 0) throw new Error('event');
    if (typeof pid !== 'number' || typeof tid !== 'number') throw new Error('track');
    if (ph === 'X' && !(Number(event['dur']) >= 0)) throw new Error('slice without length');
    if (ph !== 'b' && ph !== 'e') continue;
    const key = `${String(event['cat'])} ${String(event['id'])}`;
    const stack = open.get(key) ?? [];
    open.set(key, stack);
    if (ph === 'b') {
      const args = (event['args'] ?? {}) as Record<string, unknown>;
      const slice: ReadSlice = { name, from: ts, to: NaN, children: [], args };
      (stack.at(-1)?.children ?? roots).push(slice);
      stack.push(slice);
    } else {
      const slice = stack.pop();
      if (slice?.name !== name || ts < slice.from) throw new Error(`end of ${name}`);
      Object.assign(slice, { to: ts });
    }
  }
  if ([...open.values()].some((stack) => stack.length > 0)) throw new Error('slice without end');
  return roots;
}

const trace = makeWorkload('stream', { pages: 3000 });

test('each fault is a slice with its stages inside, in order, from raised to replayed', () => {
  const lives = new FaultLives();
  const result = runModel(trace, policyByName('uvm'), { lives, devicePages: 2500 });
  const slices = readSlices(JSON.stringify(chromeTrace(result, lives)));
  expect(slices.length).toBe(lives.begun);
  const seen = new Set<string>();
  for (const { from, to, children } of slices) {
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
