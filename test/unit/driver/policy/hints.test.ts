/**
 * Hints and what policies make of them: H1 to H4, M1, M6, M8, A1, T of xe. Oracle: the driver's
 * rules, as tables.
 */
import { describe, expect, test } from 'vitest';
import { AccessCounters } from '../../../../src/driver/policy/access-counters.ts';
import { plainRegion } from '../../../../src/driver/policy/access-trace.ts';
import { UvmPolicy } from '../../../../src/driver/policy/drivers/uvm.ts';
import { XePolicy } from '../../../../src/driver/policy/drivers/xe.ts';
import { FaultRing } from '../../../../src/driver/policy/fault-ring.ts';
import { FaultService } from '../../../../src/driver/policy/fault-service.ts';
import {
  ACCESS_ATOMIC,
  ACCESS_COUNTER,
  ACCESS_READ,
  ACCESS_WRITE,
  IN_RAM,
  NO_HINTS,
  ON_DEVICE,
} from '../../../../src/driver/policy/policy.ts';
import type { FaultPolicy, Hints, Region } from '../../../../src/driver/policy/policy.ts';
import { Residency } from '../../../../src/driver/policy/residency.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { drive, ModelRun, policyByName, runModel, traceOf } from './rig.ts';

/** A region with hints. */
function hinted(hints: Partial<Hints>, over: Partial<Region> = {}): Region {
  return { ...plainRegion(0, 512), hints: { ...NO_HINTS, ...hints }, ...over };
}

/** What a policy answers to one fault on page 20. */
function answerTo(
  policy: FaultPolicy,
  space: Residency,
  access: number,
  page = 20,
): Record<string, number[]> {
  const got: Record<string, number[]> = {};
  const note = (kind: string) => (one: number) => void (got[kind] ??= []).push(one);
  policy.onFaults(
    {
      block: Math.floor(page / 512),
      context: 0,
      count: 1,
      pages: Int32Array.of(page),
      access: Uint8Array.of(access),
      workgroups: Int32Array.of(0),
    },
    space,
    {
      migrate: note('migrate'),
      remote: note('remote'),
      pin: note('pin'),
      duplicate: note('duplicate'),
      throttle: note('throttle'),
    },
  );
  return got;
}

describe('H1: UVM, by preferred location, accessed-by, read-mostly, place and access', () => {
  const table: [Partial<Hints>, number, number, string][] = [
    [{}, 0, ACCESS_READ, 'migrate'],
    [{}, IN_RAM, ACCESS_WRITE, 'migrate'],
    [{ preferred: 'ram' }, 0, ACCESS_READ, 'remote'],
    [{ preferred: 'ram' }, IN_RAM, ACCESS_WRITE, 'remote'],
    [{ preferred: 'device' }, 0, ACCESS_READ, 'migrate'],
    [{ preferred: 'device' }, IN_RAM, ACCESS_READ, 'migrate'],
    [{ accessedBy: true }, 0, ACCESS_READ, 'migrate'],
    [{ accessedBy: true }, IN_RAM, ACCESS_READ, 'remote'],
    [{ accessedBy: true }, IN_RAM, ACCESS_WRITE, 'remote'],
    [{ accessedBy: true }, IN_RAM, ACCESS_COUNTER, 'migrate'],
    [{ accessedBy: true, preferred: 'device' }, IN_RAM, ACCESS_READ, 'migrate'],
    [{ accessedBy: true, preferred: 'ram' }, 0, ACCESS_READ, 'remote'],
    [{ readMostly: true }, IN_RAM, ACCESS_READ, 'duplicate'],
    [{ readMostly: true }, IN_RAM, ACCESS_WRITE, 'migrate'],
    [{ readMostly: true, preferred: 'ram' }, IN_RAM, ACCESS_READ, 'duplicate'],
    [{ readMostly: true, accessedBy: true }, IN_RAM, ACCESS_ATOMIC, 'migrate'],
  ];
  test.each(table)('%j, in place %i, access %i: %s', (hints, where, access, kind) => {
    const space = new Residency([hinted(hints)], 512);
    space.where.fill(where);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    const got = answerTo(new UvmPolicy(setup), space, access);
    expect(Object.entries(got).find(([, pages]) => pages.includes(20))![0]).toBe(kind);
  });

  test('a first touch at the preferred device brings the whole block, a second its 64K', () => {
    const space = new Residency([hinted({ preferred: 'device' })], 512);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    expect(answerTo(new UvmPolicy(setup), space, ACCESS_READ)['migrate']!.length).toBe(512);
    space.where[300] = IN_RAM;
    expect(answerTo(new UvmPolicy(setup), space, ACCESS_READ)['migrate']!.length).toBe(16);
  });

  test('nothing is prefetched to a device that is not preferred', () => {
    const space = new Residency([hinted({ preferred: 'ram', readMostly: true })], 512);
    space.where.fill(IN_RAM);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    expect(answerTo(new UvmPolicy(setup), space, ACCESS_READ)).toEqual({ duplicate: [20] });
  });

  test('nothing is prefetched to RAM either where the device is preferred', () => {
    const homeWith = (hints: Partial<Hints>): number => {
      const space = new Residency([hinted(hints)], 512);
      space.where.fill(ON_DEVICE);
      const policy = new UvmPolicy({ pageCount: space.pageCount, devicePages: 512, seed: 1 });
      let pages = 0;
      const nothing = (): void => undefined;
      const migrate = (): void => void pages++;
      const others = { remote: nothing, pin: nothing, duplicate: nothing, throttle: nothing };
      policy.onCpuFault(20, ACCESS_READ, space, { migrate, ...others });
      return pages;
    };
    // The page itself; without a preference its group, too.
    expect(homeWith({ preferred: 'device' })).toBe(1);
    expect(homeWith({})).toBe(16);
  });

  test('a range of xe ends where something of it is unmapped', () => {
    const space = new Residency([hinted({})], 512);
    const policy = new XePolicy({ pageCount: space.pageCount, devicePages: 512, seed: 1 });
    expect(answerTo(policy, space, ACCESS_READ)['migrate']!.length).toBe(512);
    space.where[20] = space.where[40] = ON_DEVICE;
    policy.arrived(20);
    policy.arrived(40);
    // As long as all of it is mapped it is the range of the next fault.
    expect(answerTo(policy, space, ACCESS_READ, 30)['migrate']!.length).toBe(512);
    space.replaceRegions([{ ...hinted({}), outer: 100 }]);
    space.where.fill(IN_RAM, 0, 20);
    expect(answerTo(policy, space, ACCESS_READ, 5)['migrate']).toEqual(
      Array.from({ length: 16 }, (_, at) => at),
    );
    // What is still on the device can be evicted, and is forgotten when it has left.
    const named: number[] = [];
    const victims = { evict: (page: number) => void named.push(page), count: 0 };
    policy.chooseVictims({ pages: 9 }, space, victims);
    expect(named).toEqual([20, 40]);
    space.where[20] = IN_RAM;
    policy.left(20, 'eviction', space);
    named.length = 0;
    policy.chooseVictims({ pages: 9 }, space, victims);
    expect(named).toEqual([40]);
  });

  test('a block needs min_faults before anything is prefetched', () => {
    const space = new Residency([hinted({})], 512);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    const policy = new UvmPolicy(setup, { minFaults: 2 });
    expect(answerTo(policy, space, ACCESS_READ)['migrate']!.length).toBe(1);
    expect(answerTo(policy, space, ACCESS_READ, 40)['migrate']!.length).toBe(16);
  });

  test('memory that can not move is mapped where it is, whatever the policy says', () => {
    const trace = traceOf([hinted({}, { isMigratable: false })], [[3, ACCESS_WRITE]]);
    const { counts } = runModel(trace, policyByName('tbn'));
    expect([counts.movedPages, counts.remoteUses]).toEqual([0, 1]);
  });
});

describe('H2: new hints', () => {
  const region = plainRegion(0, 512);

  test('take the mappings of their range, and of no other page', () => {
    const space = new Residency([region], 512);
    for (let page = 0; page < 512; page++) space.toDevice(page, false, false);
    expect(space.setHints(100, 200, { ...NO_HINTS, preferred: 'ram' })).toBe(true);
    expect([99, 100, 199, 200].map((page) => space.mapped[page] !== 0)).toEqual([
      true,
      false,
      false,
      true,
    ]);
    const preferred = [99, 100, 199, 200].map((page) => space.regionOf(page)!.hints.preferred);
    expect(preferred).toEqual(['none', 'ram', 'ram', 'none']);
  });

  test('that are the same change nothing', () => {
    const space = new Residency([region], 512);
    space.toDevice(150, false, false);
    expect(space.setHints(100, 200, { ...NO_HINTS })).toBe(false);
    expect(space.mapped[150]).not.toBe(0);
  });
});

describe('regions and hints without number', () => {
  test('more regions than 16 bits can count are told apart', () => {
    const count = 2 ** 16 + 8;
    const regions = Array.from({ length: count }, (_, i) => ({
      ...plainRegion(i, 1),
      isWritable: i % 2 === 0,
    }));
    const space = new Residency(regions, 512);
    for (const page of [0, 1, 2 ** 16 - 2, 2 ** 16 - 1, 2 ** 16, count - 1]) {
      expect(space.regionOf(page), `${page}`).toBe(regions[page]);
    }
    expect(space.regionOf(count)).toBe(undefined);
  });

  test('hints that change for ever leave what they are, and no more', () => {
    const space = new Residency([plainRegion(0, 512)], 512);
    const wanted = new Int32Array(512).fill(9);
    for (let i = 0; i < 20_000; i++) {
      const page = (i * 37) % 512;
      wanted[page] = i % 30;
      space.setHints(page, page + 1, { ...NO_HINTS, granularity: i % 30 });
    }
    for (let page = 0; page < 512; page++) {
      expect(space.regionOf(page)!.hints.granularity).toBe(wanted[page]);
    }
    // Some are covered by others and wait to be dropped.
    expect(space.rangeCount).toBeLessThan(3 * 1024);
  });
});

test('H3: what the user prefetched does not fault', () => {
  const run = new ModelRun(makeWorkload('sweep', { pages: 1000 }), policyByName('uvm'));
  const steps: [string, number][] = [];
  for (const { kind, count } of run.service.prefetch(0, 1000)) steps.push([kind, count]);
  expect(steps).toEqual([
    ['migrate', 512],
    ['migrate', 488],
  ]);
  drive(run);
  expect([run.service.counts.faults, run.service.counts.prefetchedUnused]).toEqual([0, 0]);
});

test('H4: kfd, granularity 14 to 0: a fault moves so many pages, inside its range', () => {
  const trace = traceOf([plainRegion(512, 3000)], [[1500, ACCESS_READ]]);
  for (let granularity = 14; granularity >= 0; granularity--) {
    const { counts } = runModel(trace, policyByName('kfd', { granularity }));
    const size = 2 ** granularity;
    const first = Math.max(512, 1500 - (1500 % size));
    const outer = Math.min(3512, 1500 - (1500 % size) + size);
    expect([granularity, counts.movedPages]).toEqual([granularity, outer - first]);
  }
});

test('M1: a page that CPU and device touch in turn moves at each hop', () => {
  for (const name of ['uvm', 'xe', 'kfd', 'none'] as const) {
    const space = new Residency([plainRegion(0, 16)], 16);
    const setup = { pageCount: space.pageCount, devicePages: 16, seed: 1 };
    const service = new FaultService(space, new FaultRing(), policyByName(name)(setup));
    for (let hop = 0; hop < 6; hop++) {
      // Far enough apart that nobody takes it for thrashing.
      space.nowUs += 1000;
      service.ring.push(3, ACCESS_WRITE, 0, 0, space.nowUs);
      for (const _ of service.pass());
      expect([name, space.where[3]]).toEqual([name, ON_DEVICE]);
      expect([...service.cpuFault(3, ACCESS_WRITE)].map(({ kind }) => kind)).toEqual(['home']);
      expect([name, space.where[3]]).toEqual([name, IN_RAM]);
    }
  }
});

describe('M6: a page that xe moved for an atomic', () => {
  function atomicPage() {
    const space = new Residency([plainRegion(0, 512)], 512);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    const service = new FaultService(space, new FaultRing(), new XePolicy(setup));
    service.ring.push(3, ACCESS_ATOMIC, 0, 0, 0);
    const asked = space.nowUs;
    for (const _ of service.pass());
    return { space, service, asked };
  }

  test('stays for 5 ms, in which the CPU waits', () => {
    const { space, service, asked } = atomicPage();
    space.nowUs = asked + 4900;
    expect(service.cpuFault(3, ACCESS_READ).next()).toEqual({ done: true, value: 'wait' });
    space.nowUs = asked + 5000;
    expect([...service.cpuFault(3, ACCESS_READ)].map(({ count }) => count)).toEqual([512]);
  });

  test('is kept for that time with its range, and no longer', () => {
    const { space, service, asked } = atomicPage();
    space.nowUs = asked + 4999;
    expect([0, 3, 511].map((page) => service.keeps(page))).toEqual([true, true, true]);
    expect([-1, 512].map((page) => service.keeps(page))).toEqual([false, false]);
    space.nowUs = asked + 5000;
    expect([0, 3, 511].map((page) => service.keeps(page))).toEqual([false, false, false]);
  });

  test('goes within its time if it has to make room', () => {
    const space = new Residency([plainRegion(0, 1024)], 512);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    const service = new FaultService(space, new FaultRing(), new XePolicy(setup));
    service.ring.push(3, ACCESS_ATOMIC, 0, 0, 0);
    for (const _ of service.pass());
    expect([service.keeps(3), space.where[3]]).toEqual([true, ON_DEVICE]);
    service.ring.push(600, ACCESS_READ, 0, 0, 0);
    for (const _ of service.pass());
    expect(space.nowUs).toBeLessThan(5000);
    expect([space.where[3], space.where[600], service.counts.evictedPages]).toEqual([
      IN_RAM,
      ON_DEVICE,
      512,
    ]);
  });

  test('a read does not keep it', () => {
    const space = new Residency([plainRegion(0, 512)], 512);
    const setup = { pageCount: space.pageCount, devicePages: 512, seed: 1 };
    const service = new FaultService(space, new FaultRing(), new XePolicy(setup));
    service.ring.push(3, ACCESS_READ, 0, 0, 0);
    for (const _ of service.pass());
    expect([...service.cpuFault(3, ACCESS_READ)].length).toBe(1);
  });
});

describe('M8: read duplication', () => {
  const region = hinted({ readMostly: true });

  test('many readers share one copy, which RAM keeps as well', () => {
    const lanes = Array.from({ length: 30 }, () => [[3, ACCESS_READ] as const]);
    const run = new ModelRun(traceOf([region], ...lanes), policyByName('uvm'));
    drive(run);
    const { counts } = run.service;
    expect([run.space.where[3], counts.duplicated, counts.duplicates]).toEqual([3, 16, 29]);
    expect(run.space.mapped[3]).toBe(ACCESS_READ);
  });

  test('a writer ends the copy in RAM, of its page alone', () => {
    const trace = traceOf(
      [region],
      [
        [3, ACCESS_READ],
        [3, ACCESS_WRITE],
      ],
    );
    const run = new ModelRun(trace, policyByName('uvm'));
    drive(run);
    expect([run.space.where[3], run.space.where[4]]).toEqual([ON_DEVICE, ON_DEVICE | IN_RAM]);
    expect(run.service.counts.duplicatesDropped).toBe(1);
  });

  test('a copy that goes is not copied back', () => {
    const regions = [hinted({ readMostly: true })];
    const space = new Residency(regions, 512);
    space.where.fill(IN_RAM);
    space.toDevice(3, true, false);
    space.toDevice(4, false, false);
    expect([space.toRam(3), space.toRam(4)]).toEqual([false, true]);
  });
});

describe('A1: access counters', () => {
  test('256 uses of a 2 MiB range notify, 255 do not; once, until it is cleared', () => {
    const counters = new AccessCounters(2048);
    for (let i = 0; i < 255; i++) counters.touch(512 + (i % 40));
    expect(counters.notifications).toEqual([]);
    expect(counters.touch(512 + 511)).toBe(true);
    // Three parts of 64K were used: 0 and 1 and 2 by the first 40 pages, and the last.
    const parts = (0b111 | (1 << 31)) >>> 0;
    expect(counters.notifications).toEqual([{ range: 1, uses: 256, parts }]);
    expect(counters.touch(512)).toBe(false);
    counters.clear(1);
    for (let i = 0; i < 255; i++) expect(counters.touch(512)).toBe(false);
    expect(counters.touch(512)).toBe(true);
    expect(counters.notifications[1]!.parts).toBe(1);
  });

  test('ranges count by themselves', () => {
    const counters = new AccessCounters(2048);
    for (let i = 0; i < 255; i++) counters.touch(i % 2 === 0 ? 0 : 512);
    expect([counters.usesOf(0), counters.usesOf(1), counters.notifications.length]).toEqual([
      128, 127, 0,
    ]);
  });

  test('a run counts what the device uses over the link', () => {
    const run = new ModelRun(makeWorkload('shared', { pages: 10 }), policyByName('nouveau'));
    drive(run);
    expect(run.service.counts.remoteUses).toBe(640);
    expect(run.service.accessCounters!.notifications).toEqual([{ range: 0, uses: 256, parts: 1 }]);
  });
});

describe('xe: the range of a fault', () => {
  /** Pages that a fault moves, in regions and with pages that the CPU has touched. */
  function range(region: Region, touched: readonly number[], ...faults: number[]): number[] {
    const space = new Residency([region], 2048);
    for (const page of touched) space.where[page] = IN_RAM;
    const setup = { pageCount: space.pageCount, devicePages: 2048, seed: 1 };
    const policy = new XePolicy(setup);
    return faults.map((page) => answerTo(policy, space, ACCESS_READ, page)['migrate']!.length);
  }
  const all = Array.from({ length: 600 }, (_, page) => page);

  test('is 2 MiB where that fits, touched or not', () => {
    expect(range(plainRegion(0, 1024), [], 700)).toEqual([512]);
  });

  test('is 64K inside a smaller VMA that the CPU has populated, 4K where it has not', () => {
    expect(range(plainRegion(5, 300), all, 20)).toEqual([16]);
    expect(range(plainRegion(5, 300), [], 20)).toEqual([1]);
    expect(range(plainRegion(5, 300), all.slice(0, 31), 20)).toEqual([1]);
  });

  test('is 4K at a ragged end', () => {
    expect(range(plainRegion(5, 300), all, 7)).toEqual([1]);
    expect(range(plainRegion(5, 300), all, 304)).toEqual([1]);
  });

  test('does not overlap one that is there', () => {
    expect(range(plainRegion(5, 300), all.slice(0, 31), 20, 31)).toEqual([1, 1]);
  });
});
