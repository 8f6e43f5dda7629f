/*
 * The entry points of mm for drivers, with arguments that no driver should give: an errno and
 * nothing changed, or for what the caller may not do at all (unlocked, twice, pages that do not
 * exist) a KernelBug before anything is changed. FUZZ_SEED=n repeats a run.
 */
import { describe, expect, test } from 'vitest';
import { KernelBug } from '../../src/base/assert.ts';
import { errno, isErr } from '../../src/base/errno.ts';
import { Prng } from '../../src/base/prng.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../src/base/units.ts';
import { HMM_PFN_REQ_FAULT, hmmRangeFault } from '../../src/mm/hmm.ts';
import type { HmmRange } from '../../src/mm/hmm.ts';
import { MEMORY_DEVICE_PRIVATE, memremapPages, memunmapPages } from '../../src/mm/memremap.ts';
import type { DevPagemap } from '../../src/mm/memremap.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDevicePfns,
  migrateDeviceRange,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import { NO_FAULT_PAGE } from '../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../src/mm/migrate-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  newMmuIntervalNotifier,
} from '../../src/mm/mmu-notifier.ts';
import type { MmuIntervalNotifierOps } from '../../src/mm/mmu-notifier.ts';
import { requestFreeMemRegion } from '../../src/mm/system.ts';
import { expectSync, pteAt } from '../unit/mm/fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice } from '../unit/mm/migration.ts';
import type { Bench } from '../unit/mm/migration.ts';
import { systemDigest } from './digest.ts';
import { HOSTILE_NUMBERS, hostile, pick, show } from './hostile.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_121);
const COUNT = 4000;
const NO_OPS: MmuIntervalNotifierOps = { invalidate: () => true };

/** Runs `call`; an errno or a KernelBug must have changed nothing. Whether it was refused. */
function isRefused(bench: Bench, name: string, call: () => number): boolean {
  const before = systemDigest(bench.sys);
  let status: number;
  try {
    status = call();
  } catch (error) {
    if (!(error instanceof KernelBug)) throw new Error(`${name} threw`, { cause: error });
    status = errno.EINVAL;
  }
  if (!isErr(status)) return false;
  if (systemDigest(bench.sys) !== before) throw new Error(`${name} ${status} changed the state`);
  return true;
}

/** Calls `one` many times with arguments of its own making; some must be refused, not all. */
function fuzz(bench: Bench, one: (random: Prng) => boolean): void {
  const random = new Prng(SEED);
  let refused = 0;
  for (let at = 0; at < COUNT; at++) if (one(random)) refused++;
  expect(refused).toBeGreaterThan(COUNT / 4);
  expect(refused).toBeLessThan(COUNT);
  checkAtRest(bench);
}

/** Mostly a good value, else a hostile number. */
function some(random: Prng, good: number): number {
  return random.chance(0.7) ? good : pick(random, HOSTILE_NUMBERS);
}

describe(`bad arguments, FUZZ_SEED=${SEED}`, () => {
  test('migrate_vma_setup [F22]', () => {
    const bench = makeBench();
    const addr = mapFilled(bench.mm, 4);
    fuzz(bench, (random) => {
      const { args } = new Migration(bench, addr, 4);
      const bad: MigrateVma = {
        ...args,
        vma: random.chance(0.95) ? args.vma : (null as never),
        start: some(random, addr),
        end: some(random, addr + 4 * PAGE_SIZE),
        src: new Uint32Array(random.chance(0.9) ? 4 : 2),
        faultPage: random.chance(0.8) ? NO_FAULT_PAGE : pick(random, [0, 1, 5, 300, 2 ** 22]),
      };
      bench.mm.mmapLock.readTrylock();
      const name = `setup ${show([bad.start, bad.end, bad.faultPage])}`;
      const refused = isRefused(bench, name, () => migrateVmaSetup(bad));
      if (!refused) migrateVmaFinalize(bad);
      bench.mm.mmapLock.readUnlock();
      return refused;
    });
  });

  test('mmu_interval_notifier_insert', () => {
    const bench = makeBench();
    fuzz(bench, (random) => {
      const sub = newMmuIntervalNotifier(null);
      const [start, length] = [some(random, PAGE_SIZE), some(random, PAGE_SIZE)];
      const insert = (): number => mmuIntervalNotifierInsert(sub, bench.mm, start, length, NO_OPS);
      const refused = isRefused(bench, `insert ${show([start, length])}`, insert);
      if (!refused) {
        expect(start + length - 1, show([start, length])).toBe(sub.last);
        expectSync(mmuIntervalNotifierRemove(sub));
      }
      return refused;
    });
  });

  test('hmm_range_fault', () => {
    const bench = makeBench();
    const addr = mapFilled(bench.mm, 4);
    const notifier = newMmuIntervalNotifier(null);
    expect(mmuIntervalNotifierInsert(notifier, bench.mm, 0, TASK_SIZE, NO_OPS)).toBe(0);
    fuzz(bench, (random) => {
      const range: HmmRange = {
        notifier,
        notifierSeq: expectSync(mmuIntervalReadBegin(notifier)),
        start: some(random, addr),
        end: some(random, addr + 4 * PAGE_SIZE),
        hmmPfns: new Uint32Array(random.chance(0.9) ? 4 : 2),
        defaultFlags: HMM_PFN_REQ_FAULT,
        pfnFlagsMask: 0,
        devPrivateOwner: null,
      };
      bench.mm.mmapLock.readTrylock();
      const name = `fault ${show([range.start, range.end])}`;
      const refused = isRefused(bench, name, () => expectSync(hmmRangeFault(range)));
      bench.mm.mmapLock.readUnlock();
      return refused;
    });
  });

  test('memremap_pages', () => {
    const bench = makeBench();
    const free = requestFreeMemRegion(bench.sys, 16);
    fuzz(bench, (random) => {
      const pgmap: DevPagemap = {
        type: random.chance(0.8) ? MEMORY_DEVICE_PRIVATE : (hostile(random) as number),
        startPfn: some(random, free + random.below(40) - 20),
        nrPages: some(random, 1 + random.below(16)),
        owner: random.chance(0.9) ? bench : null,
        ops: random.chance(0.9) ? bench.device.pgmap.ops : (hostile(random) as never),
        ref: 0,
        id: 0,
      };
      const name = `memremap ${show([pgmap.type, pgmap.startPfn, pgmap.nrPages])}`;
      const refused = isRefused(bench, name, () => memremapPages(bench.sys, pgmap));
      if (!refused) expectSync(memunmapPages(bench.sys, pgmap));
      return refused;
    });
  });

  test('migrate_device_pfns: any pfn of the machine, and others before anything is done [F58]', () => {
    const bench = makeBench();
    mapOnDevice(bench, 8);
    const { pageCount } = bench.sys.mem;
    fuzz(bench, (random) => {
      const src = new Uint32Array(4);
      // Each pfn once, as the kernel wants it.
      const first = random.below(pageCount);
      src.forEach((_, i) => (src[i] = (first + i * 7) % pageCount));
      const at = random.below(4);
      if (random.chance(0.5)) src[at] = pick(random, [pageCount, 2 ** 23, 2 ** 31, 2 ** 32 - 1]);
      const run = (): number => migrateDevicePfns(bench.sys, src, 4);
      const refused = isRefused(bench, `pfns ${show([...src])}`, run);
      if (refused) return true;
      migrateDevicePages(bench.sys, src, new Uint32Array(4), 4);
      migrateDeviceFinalize(bench.sys, src, new Uint32Array(4), 4);
      return false;
    });
  });

  test('migrate_device_range of pages that are free, and of the last ones [F58]', () => {
    const bench = makeBench();
    const { pageCount } = bench.sys.mem;
    const src = new Uint32Array(8);
    expect(migrateDeviceRange(bench.sys, src, pageCount - 8, 8)).toBe(0);
    expect([...src]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    const beyond = (): number => migrateDeviceRange(bench.sys, src, pageCount - 4, 8);
    expect(isRefused(bench, 'beyond the end', beyond)).toBe(true);
    checkAtRest(bench);
  });
});

describe('steps in the wrong order', () => {
  test('pages and finalize without the mmap lock change nothing', () => {
    const bench = makeBench();
    const { args } = new Migration(bench, mapFilled(bench.mm, 2), 2);
    for (const step of [migrateVmaSetup, migrateVmaPages, migrateVmaFinalize]) {
      const before = systemDigest(bench.sys);
      expect(() => step({ ...args, npages: 0 })).toThrow(KernelBug);
      expect(systemDigest(bench.sys)).toBe(before);
    }
    checkAtRest(bench);
  });

  test('finalize without pages gives everything back when no destination was supplied [F52]', () => {
    const bench = makeBench();
    const addr = mapFilled(bench.mm, 4);
    const entries = (): number[] =>
      [0, 1, 2, 3].map((page) => pteAt(bench.mm, addr + page * PAGE_SIZE));
    const before = entries();
    const migration = new Migration(bench, addr, 4).setup();
    expect(entries()).not.toEqual(before);
    migration.finalize();
    expect(entries()).toEqual(before);
    checkAtRest(bench);
  });

  test('finalize of destinations that were never committed is a broken invariant', () => {
    const bench = makeBench();
    const migration = new Migration(bench, mapFilled(bench.mm, 2), 2).setup().supply();
    expect(() => migration.finalize()).toThrow(/^I31/);
  });

  test('a subscription is inserted once and removed once', () => {
    const bench = makeBench();
    const sub = newMmuIntervalNotifier(null);
    expect(() => mmuIntervalNotifierRemove(sub)).toThrow(/^I23/);
    const insert = (): number =>
      mmuIntervalNotifierInsert(sub, bench.mm, PAGE_SIZE, PAGE_SIZE, NO_OPS);
    expect(insert()).toBe(0);
    const before = systemDigest(bench.sys);
    expect(insert).toThrow(/^I23/);
    expect(systemDigest(bench.sys)).toBe(before);
    expectSync(mmuIntervalNotifierRemove(sub));
    expect(() => mmuIntervalNotifierRemove(sub)).toThrow(/^I23/);
    checkAtRest(bench);
  });
});
