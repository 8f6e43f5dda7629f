/*
 * Real runs as Chrome traces, read back by the reader of the trace event format: each fault's life
 * in the service's time, and by the clock from the pass that raised it to the one that tried again.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LaunchNotes } from '../../../examples/05-fault-lab/kernel-run.ts';
import { runTrace } from '../../../examples/05-fault-lab/run-trace.ts';
import type { TracedLaunch } from '../../../examples/05-fault-lab/run-trace.ts';
import { bootMachine, STAGES } from '../../../src/index.ts';
import { launchPlaced, openRig, place } from '../../contract/launch-contract.ts';
import type { LaunchRig } from '../../contract/launch-contract.ts';
import { readSlices } from '../driver/policy/chrome-reader.ts';

let rig: LaunchRig;

beforeAll(async () => {
  rig = await openRig(bootMachine, 'cpu', 16);
});

afterAll(() => rig.machine.close());

async function traced(policy: string | null): Promise<TracedLaunch> {
  const kernel = await rig.device.compileKernel({ shape: 'stencil', window: 4 });
  const placed = await place(rig, 'stencil', 256);
  const notes: LaunchNotes = { passes: [], faults: [] };
  const trace = await rig.machine.trace((events) => {
    for (const event of events) {
      if (event.type === 'device_pass') notes.passes.push(event);
      if (event.type === 'device_fault') notes.faults.push(event);
    }
  });
  const by = policy === null ? {} : { policy, service: { lives: 1000 } };
  const report = await launchPlaced(rig, kernel, placed, by);
  await trace.close();
  expect(report).toMatchObject({ outcome: 'done' });
  expect(notes.faults).toHaveLength(report.faults);
  expect(report.faults).toBeGreaterThan(4);
  return { name: 'stencil', report, notes, window: 4 };
}

describe('a run under a policy', () => {
  test.for(['uvm', 'kfd', 'none'])('%s: all lives, in both times', async (policy) => {
    const run = await traced(policy);
    const text = JSON.stringify(runTrace(run));
    const slices = readSlices(text);
    const { service } = run.report;
    expect(slices).toHaveLength(service!.livesBegun + run.notes.faults.length);
    for (const { from, to, children, args } of slices) {
      const times = STAGES.map((stage) => args[`${stage}Us`]);
      if ('batch' in args) expect([times[0], times.at(-1)]).toEqual([from, to]);
      let at = from;
      for (const child of children) {
        expect(child.from).toBe(at);
        at = child.to;
      }
      expect(at).toBe(to);
    }
    const stages = new Set(slices.flatMap(({ children }) => children.map(({ name }) => name)));
    expect([...stages]).toEqual(expect.arrayContaining(['allocated', 'replayed', 'served']));
    const { otherData } = JSON.parse(text) as { otherData: object };
    expect(otherData).toMatchObject({ policy, outcome: 'done', counts: service!.counts });
  });
});

test('a run without one: faults from their pass to the next, in order', async () => {
  const run = await traced(null);
  const trace = runTrace(run);
  const slices = readSlices(JSON.stringify(trace));
  expect(slices).toHaveLength(run.notes.faults.length);
  const passes = trace.traceEvents.filter(({ ph }) => ph === 'X');
  expect(passes).toHaveLength(run.notes.passes.length);
  expect(passes[0]).toMatchObject({ name: 'pass 0', ts: 0 });
  const memory = trace.traceEvents.filter(({ ph }) => ph === 'C');
  expect(memory.map(({ args }) => args!['pages'])).toEqual(
    run.notes.passes.map(({ pagesInUse }) => pagesInUse),
  );
  expect(memory.map(({ ts }) => ts)).toEqual(passes.map(({ ts, dur }) => ts + dur!));
  for (const { args, children, to } of slices) {
    expect(children.map(({ name }) => name)).toEqual(['served', 'replayed']);
    const next = passes[Number(args['pass']) + 1]!;
    expect(to).toBeCloseTo(next.ts + next.dur!, 3);
  }
});

test('faults of the last pass are tried by nobody', async () => {
  const run = await traced(null);
  const [first] = run.notes.passes;
  const cut = { ...run, notes: { ...run.notes, passes: [first!] } };
  const slices = readSlices(JSON.stringify(runTrace(cut)));
  expect(slices).toHaveLength(run.notes.faults.filter(({ pass }) => pass === 0).length);
  expect(slices.every(({ from, to, children }) => from === to && children.length === 0)).toBe(true);
});
