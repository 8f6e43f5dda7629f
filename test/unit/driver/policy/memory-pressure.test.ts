/**
 * Too little memory: scenarios E1 to E5 and M9. Oracles: every access of the trace is done, device
 * memory never holds more than it has, each page is somewhere, and nothing that the batch in
 * service faulted on is evicted.
 */
import { describe, expect, test } from 'vitest';
import { plainRegion } from '../../../../src/driver/policy/access-trace.ts';
import { makeEviction } from '../../../../src/driver/policy/eviction.ts';
import type { EvictionName } from '../../../../src/driver/policy/eviction.ts';
import { POLICIES } from '../../../../src/driver/policy/policies.ts';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  IN_RAM,
  ON_DEVICE,
} from '../../../../src/driver/policy/policy.ts';
import { Residency } from '../../../../src/driver/policy/residency.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { blocks, drive, ModelRun, pageByPage, policyByName, runModel, traceOf } from './rig.ts';

/** Drives a run and checks what must always hold. */
function checkedRun(run: ModelRun): void {
  const { space } = run;
  let overfull = 0;
  let protectedVictims = 0;
  drive(run, (step) => {
    if (space.usedPages > space.devicePages) overfull++;
    if (step.kind !== 'evict') return;
    for (let i = 0; i < step.count; i++) if (space.isProtected(step.pages[i]!)) protectedVictims++;
  });
  expect([overfull, protectedVictims]).toEqual([0, 0]);
  const here = space.where.filter((one) => (one & ON_DEVICE) !== 0).length;
  expect(here).toBe(space.residentPages);
}

describe('E1: working sets of 9/8, 3/2, 2 and 4 times the memory', () => {
  const single = makeWorkload('sweep', { pages: 2600 });
  const cyclic = makeWorkload('cyclic', { pages: 2600, passes: 2 });
  const small = (name: 'sweep' | 'cyclic') => makeWorkload(name, { pages: 1200, passes: 2 });
  test.each(POLICIES)('%s: a sweep and cyclic use finish, every access done', (name) => {
    for (const trace of [small('sweep'), small('cyclic')]) {
      for (const times of [9 / 8, 3 / 2, 2, 4]) {
        const run = new ModelRun(trace, policyByName(name), {
          devicePages: Math.floor(1200 / times),
          window: 32,
        });
        checkedRun(run);
        expect(run.device.accesses).toBe(trace.pages.length);
      }
    }
  });

  test('a sweep brings each page once, cyclic use under UVM again and again', () => {
    const once = runModel(single, policyByName('uvm'), { devicePages: 2048, window: 32 });
    expect(once.counts.bytesIn).toBe(2600 * 4096);
    const again = runModel(cyclic, policyByName('uvm'), { devicePages: 2048, window: 32 });
    expect(again.counts.bytesIn).toBeGreaterThan(1.9 * 2600 * 4096);
  });
});

test('E2: one range that is ten times the device', () => {
  const trace = makeWorkload('random', { pages: 1000 });
  for (const name of POLICIES) {
    const run = new ModelRun(trace, policyByName(name), { devicePages: 100, window: 16 });
    checkedRun(run);
    expect(run.device.accesses).toBe(trace.pages.length);
  }
});

test('E3: four address spaces at once, 1.5 times the memory together', () => {
  const regions = [0, 1, 2, 3].map((context) => plainRegion(context * 1024, 1024, context));
  const lanes = Array.from({ length: 1024 }, (_, i) => {
    const page = (i % 4) * 1024 + ((i >>> 2) * 4 + (i % 2));
    return [[page, ACCESS_WRITE] as const, [page - (page % 1024), ACCESS_READ] as const];
  });
  for (const name of POLICIES) {
    const run = new ModelRun(traceOf(regions, ...lanes), policyByName(name), {
      devicePages: Math.floor(4096 / 1.5),
    });
    checkedRun(run);
    expect(run.device.accesses).toBe(run.result().accesses);
    expect(run.device.isDone).toBe(true);
  }
});

describe('E4: a batch that needs more than there is', () => {
  const lanes = Array.from({ length: 20 }, (_, page) => [[page, ACCESS_WRITE] as const]);

  test('keeps what it has got, and is served from RAM for the rest', () => {
    const { counts, accesses } = runModel(traceOf(blocks(1), ...lanes), pageByPage(), {
      devicePages: 8,
    });
    expect([counts.movedPages, counts.evictedPages, counts.fallbacks]).toEqual([8, 0, 12]);
    expect([accesses, counts.remoteUses]).toEqual([20, 12]);
  });

  test('of exactly as much as there is, needs no RAM', () => {
    const { counts } = runModel(traceOf(blocks(1), ...lanes), pageByPage(), { devicePages: 20 });
    expect([counts.movedPages, counts.fallbacks]).toEqual([20, 0]);
  });

  test.each(POLICIES)('%s: a device of a single page is enough', (name) => {
    const trace = makeWorkload('graph', { pages: 200, passes: 1 });
    const run = new ModelRun(trace, policyByName(name), { devicePages: 1, window: 8 });
    checkedRun(run);
    expect(run.device.accesses).toBe(trace.pages.length);
  });

  test('all or nothing: a range that does not fit moves nothing', () => {
    const trace = traceOf(blocks(2), [[600, ACCESS_READ]], [[3, ACCESS_READ]]);
    const { counts } = runModel(trace, policyByName('xe'), { devicePages: 400 });
    expect([counts.movedPages, counts.fallbacks]).toEqual([0, 2]);
    const fits = runModel(trace, policyByName('xe'), { devicePages: 512 });
    expect([fits.counts.movedPages, fits.counts.evictedPages]).toEqual([1024, 512]);
  });

  test('prefetched pages give way: what faulted comes, what did not is left out', () => {
    const trace = traceOf(blocks(1), [[0, ACCESS_READ]]);
    const { counts } = runModel(trace, policyByName('kfd'), { devicePages: 100 });
    expect([counts.movedPages, counts.prefetchedPages, counts.fallbacks]).toEqual([100, 99, 0]);
  });
});

describe('E5: victims that are busy or gone', () => {
  const trace = makeWorkload('cyclic', { pages: 64, passes: 3 });

  test('a victim that can not move stays, another goes', () => {
    const run = new ModelRun(trace, pageByPage(), { devicePages: 16, window: 4 });
    let refused = 0;
    drive(run, (step) => {
      if (step.kind !== 'evict' || step.pages[0] !== 0) return;
      step.failed[0] = 1;
      refused++;
    });
    expect(refused).toBeGreaterThan(0);
    expect(run.space.where[0]! & ON_DEVICE).not.toBe(0);
    expect(run.device.isDone).toBe(true);
  });

  test('a page that was unmapped is forgotten, and its memory is free', () => {
    const run = new ModelRun(trace, policyByName('uvm'), { devicePages: 64, window: 64 });
    run.step();
    run.step();
    const used = run.space.usedPages;
    expect(run.space.where[5]! & ON_DEVICE).not.toBe(0);
    run.service.forget(5);
    expect([run.space.where[5], run.space.mapped[5], run.space.usedPages]).toEqual([
      0,
      0,
      used - 1,
    ]);
  });
});

describe('M9: the nth move fails, for n = 0, 1, 3, 7, ...', () => {
  const trace = makeWorkload('stencil', { pages: 120, passes: 2 });
  test.each(['uvm', 'xe', 'kfd', 'tbn'] as const)(
    '%s: everything finishes all the same',
    (name) => {
      for (let n = 0, wasHit = true; wasHit; n = 2 * n + 1) {
        wasHit = false;
        const run = new ModelRun(trace, policyByName(name), { devicePages: 70, window: 8 });
        let seen = 0;
        drive(run, (step) => {
          for (let i = 0; i < step.count; i++) {
            if (seen++ !== n) continue;
            step.failed[i] = 1;
            wasHit = true;
          }
        });
        expect(run.device.accesses).toBe(trace.pages.length);
      }
    },
  );

  test('a faulted page that can not move is used in RAM; a prefetched one stays unmapped', () => {
    const run = new ModelRun(traceOf(blocks(1), [[3, ACCESS_READ]]), policyByName('uvm'));
    drive(run, (step) => {
      if (step.kind === 'migrate') step.failed.fill(1, 0, 2);
    });
    expect([run.space.remote[3], run.space.where[3], run.space.where[0]]).toEqual([
      1,
      IN_RAM,
      IN_RAM,
    ]);
    expect(run.space.where[1]! & ON_DEVICE).not.toBe(0);
    expect(run.service.counts.fallbacks).toBe(1);
  });
});

describe('orders of eviction', () => {
  /** Brings pages 0, 512, 1024, ... in turn, uses some again, and asks for victims. */
  function victimsOf(name: EvictionName, uses: number[], wanted: number, reserve = 0): number[] {
    const space = new Residency([plainRegion(0, 4 * 512)], 4 * 512);
    const setup = { pageCount: space.pageCount, devicePages: 2048, seed: 1 };
    const order = makeEviction(name, setup, reserve);
    for (const page of [0, 16, 17, 512, 1024, 1536, 513]) {
      space.toDevice(page, false, false);
      order.arrived(page, space);
    }
    for (const page of uses) order.touched(page);
    const named: number[] = [];
    order.choose({ pages: wanted }, space, {
      evict: (page) => void named.push(page),
      get count() {
        return named.length;
      },
    });
    return named;
  }

  test.each([
    // Page 513 came last: block 1 was allocated from latest.
    ['lra2m', [], 1, [0, 16, 17]],
    ['lra2m', [], 4, [0, 16, 17, 1024]],
    ['lra2m', [0], 4, [0, 16, 17, 1024]],
    ['fifo2m', [], 4, [0, 16, 17, 512, 513]],
    ['fifo2m', [0, 512], 4, [0, 16, 17, 512, 513]],
    ['lru2m', [0], 1, [1024]],
    ['lru2m', [0, 1024], 1, [1536]],
    ['lru4k', [0, 16], 2, [17, 512]],
    ['sl64k', [0], 2, [16, 17]],
    ['sl64k', [17], 1, [0]],
    ['lfu2m', [0, 0, 1024], 1, [1536]],
    ['tbn', [512, 1024, 1536], 1, [0, 16, 17]],
  ] as const)('%s, after use of %j, for %i pages: %j', (name, uses, wanted, victims) => {
    expect(victimsOf(name, [...uses], wanted)).toEqual(victims);
  });

  test('a reserve of a quarter passes over the head, and gives way when all have to go', () => {
    expect(victimsOf('lru2m', [], 1, 0.25)).toEqual([1024]);
    expect(victimsOf('lru2m', [], 7, 0.25).toSorted((a, b) => a - b)).toEqual([
      0, 16, 17, 512, 513, 1024, 1536,
    ]);
  });

  test('random draws each page at most once, and all when all are wanted', () => {
    const drawn = victimsOf('random', [], 7);
    expect(drawn.toSorted((a, b) => a - b)).toEqual([0, 16, 17, 512, 513, 1024, 1536]);
  });

  test('a unit with a page of the batch in service is passed over', () => {
    const space = new Residency([plainRegion(0, 1024)], 1024);
    const setup = { pageCount: space.pageCount, devicePages: 1024, seed: 1 };
    for (const name of ['lra2m', 'lru4k', 'lfu2m', 'tbn', 'random'] as const) {
      const order = makeEviction(name, setup);
      for (const page of [3, 515]) {
        space.toDevice(page, false, false);
        order.arrived(page, space);
      }
      space.protect(3);
      const named: number[] = [];
      order.choose({ pages: 2 }, space, {
        evict: (page) => void named.push(page),
        get count() {
          return named.length;
        },
      });
      expect([name, ...new Set(named)]).toEqual([name, 515]);
      space.nextRound();
    }
  });
});
