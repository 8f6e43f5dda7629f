/*
 * The fault lab without its page: runs that are stepped, disturbed and looked at end as those that
 * are left alone, and what goes wrong is said with its place.
 */
import { describe, expect, test } from 'vitest';
import {
  LabRun,
  MAP_AHEAD,
  MAP_BATCH,
  MAP_DEVICE,
  MAP_OUTSIDE,
  MAP_RAM,
  MAP_REMOTE,
} from '../../../examples/05-fault-lab/lab-run.ts';
import type { Goal, LabOptions } from '../../../examples/05-fault-lab/lab-run.ts';
import { FIELDS, setupOf } from '../../../examples/05-fault-lab/settings.ts';
import { failureOf, lineIn, SAMPLE_POLICY } from '../../../examples/_shell/own-policy.ts';
import { queryOf, settingsFrom } from '../../../examples/_shell/settings.ts';
import {
  COST_MODEL,
  makeWorkload,
  PolicyError,
  policyByName,
  readTrace,
  runModel,
  STAGES,
  userPolicy,
} from '../../../src/index.ts';
import type { PolicyName } from '../../../src/index.ts';

const OPTIONS: LabOptions = {
  oversub: 150,
  window: 64,
  dedup: false,
  seed: 1,
  cost: COST_MODEL,
  traits: {},
};
const TRACE = makeWorkload('graph', { pages: 1024 });

const labOf = (policy: PolicyName, options: Partial<LabOptions> = {}): LabRun =>
  new LabRun(TRACE, policyByName(policy), { ...OPTIONS, ...options });

function alone(policy: PolicyName): ReturnType<typeof runModel> {
  const pages = TRACE.regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
  const devicePages = Math.floor((pages * 100) / 150);
  return runModel(TRACE, policyByName(policy), { devicePages, window: 64 });
}

describe('a run of the lab', () => {
  const goals: readonly (readonly [string, () => Goal])[] = [
    ['batches', () => ({ kind: 'batch' })],
    ['passes', () => ({ kind: 'pass' })],
    ['one go', () => ({ kind: 'end' })],
  ];
  for (const policy of ['uvm', 'kfd', 'adaptive', 'none'] as const) {
    test.for(goals)(`in %s ends as one left alone: ${policy}`, ([, goal]) => {
      const lab = labOf(policy);
      while (!lab.isDone) expect(lab.advance(goal())).toBe(true);
      const { result } = lab.files();
      const expected = alone(policy);
      expect(result.digest).toBe(expected.digest);
      expect(result.counts).toEqual(expected.counts);
      expect(result.times).toEqual(expected.times);
    });
  }

  test('a step of a batch is one batch, a step of a pass is at least one', () => {
    const lab = labOf('uvm');
    for (let batch = 1; batch <= 5; batch++) {
      lab.advance({ kind: 'batch' });
      expect(lab.state().counts.batches).toBe(batch);
    }
    const { passes } = lab.state().counts;
    lab.advance({ kind: 'pass' });
    expect(lab.state().counts.passes).toBeLessThanOrEqual(passes + 1);
    expect(lab.state().counts.batches).toBeGreaterThan(5);
  });

  test('goes on until a time of the virtual clock, and not much further', () => {
    const lab = labOf('none');
    expect(lab.advance({ kind: 'until', us: 500 })).toBe(true);
    const { us } = lab.state();
    expect(us).toBeGreaterThanOrEqual(500);
    expect(us).toBeLessThan(1000);
    lab.advance({ kind: 'until', us: 400 });
    expect(lab.state().us).toBeLessThan(us + 200);
  });

  test('stops when it is late, and says that the goal was not reached', () => {
    const lab = labOf('none');
    let looks = 0;
    expect(lab.advance({ kind: 'end' }, () => ++looks === 3)).toBe(false);
    expect(looks).toBe(3);
    expect(lab.isDone).toBe(false);
    expect(lab.advance({ kind: 'end' })).toBe(true);
    expect(lab.isDone).toBe(true);
  });
});

describe('the state of a run', () => {
  test('has a code for each page: regions alone, the batch marked, until the end', () => {
    const trace = readTrace(
      [
        '# region 0,3 context=0',
        '# region 512,514 context=0 fixed',
        'workgroup,lane,page,access',
        '0,0,0,R\n1,0,512,R\n2,0,1,R\n3,0,1,W',
      ].join('\n'),
    );
    const lab = new LabRun(trace, policyByName('none'), { ...OPTIONS, oversub: 100, window: 3 });
    const codes = (): number[] => {
      const { map } = lab.state();
      return [0, 1, 2, 3, 512, 513, 514].map((page) => map[page]!);
    };
    const before = [MAP_RAM, MAP_RAM, MAP_RAM, MAP_OUTSIDE, MAP_RAM, MAP_RAM, MAP_OUTSIDE];
    expect(codes()).toEqual(before);
    lab.advance({ kind: 'batch' });
    expect(codes()).toEqual([MAP_BATCH, ...before.slice(1)]);
    lab.advance({ kind: 'end' });
    const fixed = [MAP_REMOTE, MAP_RAM, MAP_OUTSIDE];
    expect(codes()).toEqual([MAP_DEVICE, MAP_DEVICE, MAP_RAM, MAP_OUTSIDE, ...fixed]);
  });

  test('tells prefetched pages that nobody used from those that were used', () => {
    const lab = new LabRun(makeWorkload('sweep', { pages: 512 }), policyByName('tbn'), {
      ...OPTIONS,
      oversub: 100,
      window: 1,
    });
    lab.advance({ kind: 'batch' });
    const { map } = lab.state();
    expect([...map.subarray(0, 16)].filter((code) => code === MAP_AHEAD)).toHaveLength(15);
    lab.advance({ kind: 'end' });
    expect([...lab.state().map].every((code) => code === MAP_DEVICE)).toBe(true);
  });

  test('shows the faults that there were, from the first one on', () => {
    const lab = labOf('none', { window: 4 });
    expect(lab.state().lives).toEqual([]);
    lab.advance({ kind: 'batch' });
    const { lives, counts } = lab.state();
    expect(lives).toHaveLength(counts.faults);
    expect(lives.length).toBeLessThan(96);
    expect(lives.every(({ page, times }) => page >= 0 && times.length === STAGES.length)).toBe(
      true,
    );
  });

  test('keeps the curve of device memory short, with both of its ends', () => {
    const lab = labOf('none');
    lab.advance({ kind: 'end' });
    const { residency, us, residentPages, lives } = lab.state();
    expect(residency.length).toBeGreaterThan(200);
    expect(residency.length).toBeLessThanOrEqual(513);
    expect(residency[0]!.us).toBeLessThan(us / 50);
    expect(residency.at(-1)).toEqual({ us, pages: residentPages });
    const times = residency.map((point) => point.us);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(lives).toHaveLength(96);
  });
});

describe('a failure on purpose', () => {
  test('a failed copy leaves one page in RAM, once', () => {
    const lab = labOf('none');
    lab.advance({ kind: 'batch' });
    lab.inject('copy');
    lab.advance({ kind: 'batch' });
    const { counts, events, map } = lab.state();
    expect(counts.fallbacks).toBe(1);
    expect(events).toHaveLength(1);
    const page = Number(/the copy of page (\d+) failed/.exec(events[0]!.text)?.[1]);
    expect([MAP_REMOTE, MAP_BATCH]).toContain(map[page]);
    lab.advance({ kind: 'batch' });
    expect(lab.state()).toMatchObject({ events: [], counts: { fallbacks: 1 } });
  });

  test('without memory all pages of a move stay in RAM, and the run still ends', () => {
    const lab = labOf('kfd');
    lab.inject('memory');
    lab.advance({ kind: 'batch' });
    const [event] = lab.state().events;
    expect(event?.text).toMatch(/^no memory for \d+ pages from page/);
    expect(lab.state().counts.fallbacks).toBeGreaterThan(0);
    lab.advance({ kind: 'end' });
    expect(lab.state()).toMatchObject({ isDone: true, allAccesses: TRACE.pages.length });
    expect(lab.state().accesses).toBe(TRACE.pages.length);
  });

  test('a policy that throws ends its run, with its name; the state can still be looked at', () => {
    const lab = labOf('uvm');
    lab.advance({ kind: 'batch' });
    lab.inject('throw');
    expect(() => lab.advance({ kind: 'end' })).toThrow(
      'policy uvm, onFaults: throws: this failure was injected',
    );
    expect(lab.state()).toMatchObject({ isDone: false, counts: { batches: 2 } });
  });
});

describe("the lab's settings", () => {
  const read = (query: string) => settingsFrom(FIELDS, new URLSearchParams(query));

  test("name each side's policy, and what both share", () => {
    const settings = read('a=kfd&b=yours&evict=lru4k&replay=once&batch=8&dedup=on&oversub=200');
    const first = setupOf(settings, 'a', null);
    expect(first.policy).toEqual({ kind: 'named', name: 'kfd', evict: 'lru4k' });
    expect(first.options).toMatchObject({ dedup: true, oversub: 200 });
    expect(first.options.traits).toEqual({ replay: 'once', batchLimit: 8 });
    const second = setupOf(settings, 'b', null);
    expect(second.policy).toEqual({ kind: 'own', code: SAMPLE_POLICY });
    expect(second.options).toEqual(first.options);
  });

  test('take a policy along in the address, text and all', () => {
    const code = "export const policy = { name: 'ä & b=c', x: '%20+' };\n// end\n";
    const query = queryOf(FIELDS, { ...read('a=yours'), code });
    expect(read(query.toString()).code).toBe(code);
    expect(queryOf(FIELDS, read('a=yours')).has('code')).toBe(false);
  });

  test('the sample policy runs, and moves two pages for each fault', async () => {
    const url = `data:text/javascript,${encodeURIComponent(SAMPLE_POLICY)}`;
    const module: unknown = await import(/* @vite-ignore */ url);
    const lab = new LabRun(TRACE, userPolicy(module, 'yours'), OPTIONS);
    lab.advance({ kind: 'end' });
    const { policy, counts, isDone } = lab.state();
    expect({ policy, isDone }).toEqual({ policy: 'two pages at a time', isDone: true });
    expect(counts.prefetchedPages).toBeGreaterThan(0);
    expect(counts.evictedPages).toBeGreaterThan(0);
  });
});

describe('what ended a run', () => {
  const url = 'blob:http://localhost/12:34';

  test('is said with the line of the module', () => {
    const cause = new Error('oops');
    cause.stack = `Error: oops\n    at onFaults (${url}:17:5)\n    at ask (http://x/y.js:3:1)`;
    const error = new PolicyError('mine', 'onFaults', 'throws: oops', cause);
    expect(failureOf(error, url)).toEqual({
      message: 'policy mine, onFaults: throws: oops',
      line: 17,
      isSyntax: false,
    });
    expect(failureOf(error, null).line).toBeNull();
  });

  test('has no line where the stack has none', () => {
    expect(lineIn('Error: oops\n  at other.js:3:1', url)).toBeNull();
    expect(lineIn(`${url}:x`, url)).toBeNull();
    expect(lineIn(`onFaults@${url}:4:9`, url)).toBe(4);
    expect(failureOf('just words', url)).toEqual({
      message: 'just words',
      line: null,
      isSyntax: false,
    });
  });

  test('is syntax only where the module does not parse', () => {
    expect(failureOf(new SyntaxError('Unexpected token'), url).isSyntax).toBe(true);
    const inside = new SyntaxError('Unexpected end of JSON input');
    const thrown = new PolicyError('mine', 'onFaults', 'throws: that', inside);
    expect(failureOf(thrown, url).isSyntax).toBe(false);
    expect(failureOf({ name: 'yours' }, url).isSyntax).toBe(false);
  });
});
