/*
 * The oversubscription page's sweep: what it runs, in which order, and what its sentences say of a
 * curve.
 */
import { describe, expect, test } from 'vitest';
import { readCliff, sweepCsv } from '../../../examples/06-oversubscription/cliff.ts';
import { FIELDS, sweepOf } from '../../../examples/06-oversubscription/settings.ts';
import {
  coarseFirst,
  CONTENDERS,
  RATIOS,
  runSweep,
  usPerAccess,
  workingSetsMoved,
} from '../../../examples/06-oversubscription/sweep.ts';
import type {
  Contender,
  SweepCell,
  SweepOptions,
} from '../../../examples/06-oversubscription/sweep.ts';
import { settingsFrom } from '../../../examples/_shell/settings.ts';
import {
  COST_MODEL,
  EVICTIONS,
  makeWorkload,
  POLICIES,
  policyByName,
  readTrace,
  runModel,
  userPolicy,
} from '../../../src/index.ts';
import type { Decisions, FaultGroup } from '../../../src/index.ts';

const OPTIONS: SweepOptions = {
  work: { name: 'cyclic', pages: 1024, passes: 3 },
  contenders: ['none', 'tbn'],
  ratios: [0.5, 1, 2],
  evict: null,
  replay: null,
  batchLimit: null,
  window: 64,
  seed: 1,
  cost: COST_MODEL,
};

const at = (cells: readonly SweepCell[], contender: Contender, ratio: number): SweepCell =>
  cells.find((cell) => cell.contender === contender && cell.ratio === ratio)!;

describe('the order of a sweep', () => {
  test('begins with both ends and has each point once', () => {
    expect(coarseFirst(0)).toEqual([]);
    expect(coarseFirst(1)).toEqual([0]);
    expect(coarseFirst(2)).toEqual([0, 1]);
    expect(coarseFirst(5)).toEqual([0, 4, 2, 1, 3]);
    for (const count of [3, 11, 22, 64]) {
      const order = coarseFirst(count);
      expect(order.slice(0, 2)).toEqual([0, count - 1]);
      expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
    }
  });

  test('ratios go up, from half to four times, and the few are among the many', () => {
    for (const ratios of Object.values(RATIOS)) {
      expect(ratios).toEqual([...new Set(ratios)].toSorted((a, b) => a - b));
      expect([ratios[0], ratios.at(-1)]).toEqual([0.5, 4]);
    }
    expect(RATIOS.few.every((ratio) => RATIOS.many.includes(ratio))).toBe(true);
  });
});

describe('a sweep', () => {
  test('runs each policy at each ratio, and says so as it goes', () => {
    const heard: string[] = [];
    let accesses = 0;
    const cells = runSweep(OPTIONS, {
      onTrace: (trace) => (accesses = trace.pages.length),
      onCell: (cell, done, total) => heard.push(`${cell.contender} ${cell.ratio} ${done}/${total}`),
    });
    expect(accesses).toBe(3 * 1024);
    expect(heard).toEqual([
      'none 0.5 1/6',
      'tbn 0.5 2/6',
      'none 2 3/6',
      'tbn 2 4/6',
      'none 1 5/6',
      'tbn 1 6/6',
    ]);
    expect(at(cells, 'tbn', 2)).toMatchObject({ devicePages: 512, pages: 1024 });
    expect(at(cells, 'tbn', 0.5)).toMatchObject({ devicePages: 2048 });
  });

  test("gives a run's own figures, to the last bit", () => {
    const [cell] = runSweep({ ...OPTIONS, contenders: ['uvm'], ratios: [1.5] });
    const trace = makeWorkload('cyclic', { pages: 1024, passes: 3 });
    const alone = runModel(trace, policyByName('uvm'), { devicePages: 682, window: 64 });
    const { us, accesses, counts, times } = alone;
    expect(cell?.result).toEqual({ us, accesses, counts, times });
    expect(usPerAccess(cell!)).toBe(us / accesses);
    expect(workingSetsMoved(cell!)).toBe((counts.bytesIn + counts.bytesOut) / 2 ** 22);
  });

  test('takes a recorded trace in place of a workload', () => {
    const work = readTrace('workgroup,lane,page,access\n0,0,0,R\n0,0,1,W\n1,0,2,R\n');
    const [cell] = runSweep({ ...OPTIONS, work, contenders: ['none'], ratios: [3] });
    expect(cell).toMatchObject({ pages: 3, devicePages: 1 });
    expect(cell?.result?.accesses).toBe(3);
  });

  test('knows every policy, and the pair behind the published cliff', () => {
    const all = { ...OPTIONS, contenders: CONTENDERS, ratios: [1, 1.5] };
    const cells = runSweep(all, {}, policyByName('kfd'));
    expect(cells).toHaveLength(2 * (POLICIES.length + 2));
    expect(at(cells, 'yours', 1.5).result).toEqual(at(cells, 'kfd', 1.5).result);
    expect(cells.filter(({ result }) => result === null)).toEqual([]);
    const over = at(cells, 'tbn-lru4k', 1.5).result!;
    expect(over.counts.prefetchedPages).toBeLessThan(1024);
    expect(at(cells, 'tbn', 1.5).result!.counts.prefetchedPages).toBeGreaterThan(1024);
    expect(over.us).toBeGreaterThan(at(cells, 'tbn', 1.5).result!.us * 5);
  });

  test("one's own policy that throws is stuck at its points, and no other", () => {
    const options = { ...OPTIONS, contenders: ['yours', 'none'] as const };
    const broken = userPolicy(
      {
        policy: {
          onFaults(faults: FaultGroup, _: unknown, answer: Decisions) {
            for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]!);
          },
          chooseVictims() {
            throw new Error('not today');
          },
        },
      },
      'yours',
    );
    const cells = runSweep(options, {}, broken);
    expect(cells).toHaveLength(6);
    const stuck = cells.filter(({ result }) => result === null);
    expect(stuck.map(({ contender, ratio }) => `${contender} ${ratio}`)).toEqual(['yours 2']);
    expect(stuck[0]?.failure).toMatch(/chooseVictims.*not today/);
  });

  test('settings choose eviction, replay and batches', () => {
    const fields = (query: string): SweepOptions =>
      sweepOf(settingsFrom(FIELDS, new URLSearchParams(query)), null);
    expect(fields('')).toMatchObject({ evict: null, replay: null, batchLimit: null, window: 160 });
    const chosen = fields('evict=lfu2m&replay=once&batch=32&size=2&workload=sweep&policies=xe,uvm');
    expect(chosen).toMatchObject({ evict: 'lfu2m', replay: 'once', batchLimit: 32 });
    expect(chosen.work).toEqual({ name: 'sweep', pages: 512, passes: null });
    expect(chosen.contenders).toEqual(['uvm', 'xe']);
    for (const name of EVICTIONS) expect(fields(`evict=${name}`).evict).toBe(name);
    expect(fields('cost=farFaultUs:20').cost).toEqual({ ...COST_MODEL, farFaultUs: 20 });
  });
});

describe('reading a curve', () => {
  const cells = runSweep({
    ...OPTIONS,
    contenders: ['tbn', 'nouveau', 'adaptive'],
    ratios: [0.5, 1, 1.1, 2],
  });

  test('finds where it falls off, and how far', () => {
    const cliff = readCliff('tbn', cells);
    const fits = usPerAccess(at(cells, 'tbn', 1));
    const worst = usPerAccess(at(cells, 'tbn', 1.1))!;
    expect(cliff).toMatchObject({
      contender: 'tbn',
      fitsUs: fits,
      edge: 1.1,
      before: 1,
      stuck: [],
    });
    expect(cliff.worst).toEqual({ ratio: 1.1, us: worst, slower: worst / fits! });
    expect(cliff.reason).toMatch(/^A page comes 3 times on average, instead of once/);
  });

  test('has no edge where nothing gets slower', () => {
    const cliff = readCliff('nouveau', cells);
    expect(cliff.edge).toBeNull();
    expect(cliff.worst?.slower).toBeCloseTo(1, 3);
    expect(cliff.reason).toMatch(/^No page moves/);
  });

  test('names accesses over the link where a policy uses them', () => {
    expect(readCliff('adaptive', cells).reason).toMatch(/\d+ % of the accesses go over the link/);
  });

  test('says nothing of what is not there yet', () => {
    const nothing = { fitsUs: null, edge: null, before: null, worst: null, reason: '', stuck: [] };
    expect(readCliff('tbn', [])).toEqual({ contender: 'tbn', ...nothing });
    const early = readCliff('tbn', [at(cells, 'tbn', 2)]);
    expect(early).toMatchObject({ fitsUs: null, edge: null, worst: null });
  });

  test('names the ratios of runs that did not end', () => {
    const stuck: SweepCell = { ...at(cells, 'tbn', 2), result: null, failure: 'page 1, "again"' };
    const some = [at(cells, 'tbn', 1), at(cells, 'tbn', 1.1), stuck];
    expect(readCliff('tbn', some)).toMatchObject({ edge: 1.1, stuck: [2] });
    expect(usPerAccess(stuck)).toBeNull();
    expect(sweepCsv(some, ['cost {}']).split('\n')).toHaveLength(1 + 1 + 3 + 1);
    expect(sweepCsv(some, [])).toMatch(/^tbn,2,512,1024,"page 1, ""again"""$/m);
  });

  test('as CSV each line has the columns of the head', () => {
    const lines = sweepCsv(cells, ['one', 'two']).trimEnd().split('\n');
    expect(lines.slice(0, 2)).toEqual(['# one', '# two']);
    const [head, ...rows] = lines.slice(2).map((line) => line.split(','));
    expect(head?.slice(0, 7).join()).toBe('policy,ratio,devicePages,pages,us,accesses,usPerAccess');
    expect(rows).toHaveLength(cells.length);
    expect(rows.filter((row) => row.length !== head?.length)).toEqual([]);
    const { result } = cells[0]!;
    expect(rows[0]?.[head!.indexOf('faults')]).toBe(String(result!.counts.faults));
    expect(rows[0]?.[head!.indexOf('copyUs')]).toBe(String(result!.times.copy));
  });
});
