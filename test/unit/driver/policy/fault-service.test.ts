/**
 * The plumbing of the fault service: scenarios F1 to F10 and F12, driven from access traces. The
 * oracle of each is named in its title or above it: counts that follow from the trace, and equal
 * digests of where all pages are in the end.
 */
import { describe, expect, test } from 'vitest';
import { plainRegion } from '../../../../src/driver/policy/access-trace.ts';
import { FaultRing } from '../../../../src/driver/policy/fault-ring.ts';
import { FaultService } from '../../../../src/driver/policy/fault-service.ts';
import type { ServiceStep } from '../../../../src/driver/policy/fault-service.ts';
import {
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  IN_RAM,
  ON_DEVICE,
} from '../../../../src/driver/policy/policy.ts';
import { Residency } from '../../../../src/driver/policy/residency.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { blocks, ModelRun, pageByPage, policyByName, runModel, traceOf } from './rig.ts';

/** A service with its ring, without a device. */
function bareService(ringRecords: number, options = {}) {
  const space = new Residency(blocks(8), 4096);
  space.where.fill(IN_RAM);
  const ring = new FaultRing(ringRecords);
  const policy = pageByPage()({ pageCount: space.pageCount, devicePages: 4096, seed: 1 });
  return { space, ring, service: new FaultService(space, ring, policy, options) };
}

/** Does a pass with nobody behind it. */
function pass(service: FaultService): ServiceStep[] {
  return [...service.pass()].map((step) => ({ ...step }));
}

function pagesOn(space: Residency): number {
  return space.where.filter((one) => (one & ON_DEVICE) !== 0).length;
}

describe('F1: the ring wraps', () => {
  test('3N faults through N records, visible out of order: each serviced once', () => {
    const { space, ring, service } = bareService(8);
    for (let round = 0; round < 3; round++) {
      const numbers = Array.from({ length: 8 }, (_, i) =>
        ring.reserve(round * 8 + i, ACCESS_READ, 0, i, 0),
      );
      expect(ring.push(99, ACCESS_READ, 0, 0, 0)).toBe(false);
      // The last becomes visible first: nothing may be taken past one that is not.
      for (const number of numbers.toReversed()) {
        expect(ring.isReady()).toBe(false);
        ring.publish(number);
      }
      pass(service);
    }
    expect(pagesOn(space)).toBe(24);
    expect(service.counts.movedPages).toBe(24);
    expect(service.counts.stale).toBe(0);
  });

  test('a record that is not visible stays, and those behind it, for a later pass', () => {
    const { space, ring, service } = bareService(8, { traits: { replay: 'once' } });
    ring.push(1, ACCESS_READ, 0, 0, 0);
    const late = ring.reserve(2, ACCESS_READ, 0, 1, 0);
    ring.push(3, ACCESS_READ, 0, 2, 0);
    pass(service);
    expect([pagesOn(space), ring.pending]).toEqual([1, 2]);
    ring.publish(late);
    pass(service);
    expect([pagesOn(space), ring.pending]).toEqual([3, 0]);
  });
});

describe('F2: overflow', () => {
  test('N + k pages at once are all on the device in the end, the lost ones counted', () => {
    const lanes = Array.from({ length: 100 }, (_, page) => [[page, ACCESS_READ] as const]);
    const result = runModel(traceOf(blocks(1), ...lanes), pageByPage(), { ringRecords: 64 });
    expect(result.counts.overflows).toBe(36);
    expect(result.counts.movedPages).toBe(100);
  });

  test('a pass that finds nothing replays all the same, once', () => {
    const { service } = bareService(8);
    expect(pass(service)).toEqual([{ kind: 'replay', isAck: false }]);
  });
});

describe('F3: duplicates', () => {
  const lanes = (access: readonly number[]) => access.map((one) => [[7, one] as const]);

  test('W threads on one page: one migration, W - 1 duplicates', () => {
    const access = Array.from({ length: 50 }, () => ACCESS_READ);
    const { counts } = runModel(traceOf(blocks(1), ...lanes(access)), pageByPage());
    expect([counts.movedPages, counts.duplicates, counts.serviced]).toEqual([1, 49, 1]);
  });

  test('reads, writes and atomics on one page are serviced as the highest', () => {
    const seen: number[] = [];
    const policy = pageByPage({
      onFaults(faults, _view, answer) {
        seen.push(faults.access[0]!);
        answer.migrate(faults.pages[0]!);
      },
    });
    runModel(traceOf(blocks(1), ...lanes([ACCESS_READ, ACCESS_ATOMIC, ACCESS_WRITE])), policy);
    expect(seen).toEqual([ACCESS_ATOMIC]);
  });

  test('without merging the sorted batch finds the same duplicates', () => {
    const access = Array.from({ length: 50 }, () => ACCESS_READ);
    const trace = traceOf(blocks(1), ...lanes(access));
    const { counts } = runModel(trace, pageByPage(), { traits: { coalesce: false } });
    expect([counts.movedPages, counts.duplicates]).toEqual([1, 49]);
  });

  test('the dedup bit reports a page once, and again for more permission', () => {
    const dedup = runModel(traceOf(blocks(1), ...lanes([ACCESS_READ, ACCESS_READ])), pageByPage(), {
      dedup: true,
    });
    expect(dedup.counts.faults).toBe(1);
    const more = runModel(traceOf(blocks(1), ...lanes([ACCESS_READ, ACCESS_WRITE])), pageByPage(), {
      dedup: true,
    });
    expect(more.counts.faults).toBe(2);
  });
});

test('F4: faults over 3 spaces and 5 blocks, shuffled: each block is locked once a batch', () => {
  const regions = [0, 1, 2].map((context) => plainRegion(context * 5 * 512, 5 * 512, context));
  const pages = Array.from({ length: 150 }, (_, i) => ((i * 7) % 15) * 512 + i);
  const groups: number[] = [];
  const policy = pageByPage({
    onFaults(faults, _view, answer) {
      groups.push(faults.block);
      expect(Math.floor(faults.block / 5)).toBe(faults.context);
      for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]!);
    },
  });
  const trace = traceOf(regions, ...pages.map((page) => [[page, ACCESS_READ] as const]));
  const { counts } = runModel(trace, policy);
  expect(counts.batches).toBe(1);
  expect(groups).toEqual(Array.from({ length: 15 }, (_, block) => block));
});

test('F5: each replay policy ends with the same memory; replays BLOCK >= BATCH >= ONCE', () => {
  const trace = makeWorkload('matmul', { pages: 1500 });
  const run = (replay: 'block' | 'batch' | 'batch-flush' | 'once') =>
    runModel(trace, pageByPage(), { traits: { replay, batchLimit: 64 } });
  const [block, batch, flush, once] = [run('block'), run('batch'), run('batch-flush'), run('once')];
  expect(new Set([block, batch, flush, once].map(({ digest }) => digest)).size).toBe(1);
  expect(block.counts.replays).toBeGreaterThanOrEqual(batch.counts.replays);
  expect(batch.counts.replays).toBeGreaterThanOrEqual(once.counts.replays);
  expect(flush.counts.stale).toBeLessThanOrEqual(batch.counts.stale);
  expect(flush.counts.flushed).toBeGreaterThan(0);
});

describe('F6: an address that is not there', () => {
  test.each([ACCESS_READ, ACCESS_WRITE])('access %i is cancelled; the others go on', (access) => {
    const good = [0, 1, 2].map((page) => [[page, ACCESS_READ] as const]);
    const bad = [[300, access] as const, [5, ACCESS_READ] as const];
    const run = new ModelRun(traceOf([plainRegion(0, 100)], ...good, bad), pageByPage());
    while (!run.isDone) run.step();
    const { counts, cancelledLanes } = run.result();
    expect([counts.cancelled, cancelledLanes, counts.movedPages]).toEqual([1, 1, 3]);
    // What the cancelled thread would have touched next was not.
    expect(run.space.where[5]! & ON_DEVICE).toBe(0);
  });

  test('the step names the page and why', () => {
    const { ring, service } = bareService(8);
    ring.push(4096 + 5, ACCESS_WRITE, 0, 0, 0);
    const [cancel] = pass(service);
    expect(cancel).toEqual({ kind: 'cancel', page: 4101, from: 1, why: 'no such address' });
  });
});

describe('F7: a write to read-only memory while readers wait', () => {
  const readOnly = { ...plainRegion(0, 512), isWritable: false };

  test('the readers are served, the writer is cancelled', () => {
    const trace = traceOf(
      [readOnly],
      [[3, ACCESS_READ]],
      [[3, ACCESS_WRITE]],
      [[3, ACCESS_READ]],
      [[3, ACCESS_ATOMIC]],
    );
    const { counts, cancelledLanes, accesses } = runModel(trace, pageByPage());
    expect([cancelledLanes, accesses, counts.movedPages]).toEqual([2, 2, 1]);
  });

  test('a writer alone moves nothing', () => {
    const { counts, cancelledLanes } = runModel(
      traceOf([readOnly], [[3, ACCESS_WRITE]]),
      pageByPage(),
    );
    expect([cancelledLanes, counts.movedPages]).toEqual([1, 0]);
  });
});

describe('F8: invalid prefetch accesses', () => {
  /** A service whose ring has so many prefetches of nothing, in a batch of 30. */
  function withInvalid(count: number) {
    const rig = bareService(64, { traits: { batchLimit: 30 } });
    for (let i = 0; i < count; i++) rig.ring.push(5000 + i, ACCESS_PREFETCH, 0, 0, 0);
    const steps = pass(rig.service);
    return { ...rig, steps };
  }

  test('are dropped: nothing is cancelled', () => {
    const { steps, service } = withInvalid(5);
    expect(steps.map(({ kind }) => kind)).toEqual(['replay']);
    expect(service.counts.invalidPrefetches).toBe(5);
  });

  test('at 2/3 of a batch hardware prefetch stays on, above it goes off for 1000 ms', () => {
    expect(withInvalid(20).service.hwPrefetch).toBe(true);
    const { service, space } = withInvalid(21);
    expect(service.hwPrefetch).toBe(false);
    const off = space.nowUs;
    space.nowUs = off + 999_000;
    service.tick();
    expect(service.hwPrefetch).toBe(false);
    space.nowUs = off + 1_001_000;
    service.tick();
    expect(service.hwPrefetch).toBe(true);
  });

  test('a valid one brings the page and stops nobody', () => {
    const trace = traceOf(blocks(1), [
      [9, ACCESS_PREFETCH],
      [1, ACCESS_READ],
    ]);
    const { counts, accesses } = runModel(trace, pageByPage());
    expect([counts.movedPages, accesses]).toEqual([2, 2]);
  });
});

test('F9: a stale channel in the batch: flush and replay, the rest is serviced', () => {
  const regions = [plainRegion(0, 512, 0), plainRegion(512, 512, 1)];
  const trace = traceOf(regions, [[1, ACCESS_READ]], [[513, ACCESS_READ]], [[2, ACCESS_READ]]);
  const run = new ModelRun(trace, pageByPage());
  run.step();
  run.service.deadContexts.add(1);
  while (!run.isDone) run.step();
  expect(run.service.counts.movedPages).toBe(2);
  expect(run.space.where[513]! & ON_DEVICE).toBe(0);
  expect(run.service.counts.replays).toBe(2);
});

test('F10: a fault of an engine that can not wait is serviced alone and acknowledged', () => {
  const { ring, service } = bareService(8, { traits: { replay: 'ack', batchLimit: 1 } });
  ring.push(4, ACCESS_WRITE, 0, 0, 0);
  ring.push(5000, ACCESS_WRITE, 0, 1, 0);
  const kinds = pass(service).map((step) => step.kind);
  expect(kinds).toEqual(['migrate', 'replay', 'cancel', 'replay']);
});

describe('F12: the grid of the fault benchmark, 4 MiB, a word per page', () => {
  const pages = 1024;
  const grid = (threads: number, isSame: boolean) =>
    traceOf(
      blocks(2),
      ...Array.from({ length: threads }, (_, thread) =>
        Array.from({ length: isSame ? pages : pages / threads }, (_, i) => {
          return [isSame ? i : (i * threads + thread) % pages, ACCESS_WRITE] as const;
        }),
      ),
    );
  test.each([
    ['one thread', grid(1, false), pages, 0],
    ['8 threads, each its own pages', grid(8, false), pages, 0],
    ['8 threads on the same pages', grid(8, true), pages * 8, pages * 7],
  ])('%s: every page moves once', (_, trace, faults, duplicates) => {
    const { counts } = runModel(trace, pageByPage());
    expect([counts.movedPages, counts.faults, counts.duplicates]).toEqual([
      pages,
      faults,
      duplicates,
    ]);
  });
});

test('the same run twice gives the same result to the last bit', () => {
  const trace = makeWorkload('graph', { pages: 2000 });
  const run = () =>
    JSON.stringify(runModel(trace, policyByName('uvm'), { devicePages: 1200, seed: 5 }));
  expect(run()).toBe(run());
});
