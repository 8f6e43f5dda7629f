/*
 * Pairs and triples of operations on one range, at the same time, with everything that they wait
 * for ending in an order that fast-check's scheduler chooses. Whatever the order: no operation
 * hangs, every invariant holds, and every word is what some order of the operations makes it.
 *
 * A failure prints fast-check's seed and path, the operations and the schedule.
 * INTERLEAVINGS_RUNS=n tries more.
 */
import * as fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { installLockdep } from '../model/lockdep.ts';
import { OPERAND, OPERATIONS, OPERATION_NAMES, Outcome, STORED } from './operations.ts';
import type { OperationName } from './operations.ts';
import { ELSEWHERE, World, wordOf } from './world.ts';
import type { Placement } from './world.ts';

const SEED = Number(process.env['INTERLEAVINGS_SEED'] ?? 20_261_121);
const RUNS = Number(process.env['INTERLEAVINGS_RUNS'] ?? 300);

beforeAll(installLockdep);

/** How long things run between two releases. */
const turns = fc.array(fc.constantFrom(0, 1, 3, 10, 40, 150), { minLength: 1, maxLength: 12 });
const placement = fc.constantFrom<Placement[]>('ram', 'device', 'device', 'other', 'hole');
const name = fc.constantFrom(...OPERATION_NAMES);

interface Case {
  readonly names: readonly OperationName[];
  readonly placement: Placement;
  readonly isHuge: boolean;
  /** Before the operations begin. */
  readonly prepare?: (world: World, outcome: Outcome) => void;
  /** After the check of words, for what is special. */
  readonly also?: (world: World) => void;
}

async function runCase(
  scheduler: fc.Scheduler,
  spins: readonly number[],
  one: Case,
): Promise<void> {
  const world = await World.make(scheduler, spins, one);
  const outcome = new Outcome();
  one.prepare?.(world, outcome);
  await world.runAll(one.names.map((each) => () => OPERATIONS[each](world, outcome)));
  world.check();
  one.also?.(world);
  world.feed();
  // What is read from here on may be waited for in the ordinary way.
  Object.assign(world.machine.kernel['context'], { engine: world.engine });
  await checkWords(world, outcome, one);
  await world.end();
}

/** The values that the first word of a page may have. */
function possibleWords(page: number, outcome: Outcome, one: Case): Set<number> {
  const before = one.placement === 'hole' ? 0 : wordOf(page);
  const bases = [before];
  if (outcome.isDropped) bases.push(0);
  if (outcome.stored.has(page)) bases.push(STORED);
  const isExact = bases.length === 1 && outcome.brokenAdds === 0;
  const most = outcome.added + outcome.brokenAdds;
  const possible = new Set<number>();
  for (const base of bases) {
    for (let times = isExact ? most : 0; times <= most; times++)
      possible.add(base + times * OPERAND);
  }
  // A store that nothing else touches is not lost.
  if (outcome.stored.has(page) && !outcome.isDropped) possible.delete(before);
  return possible;
}

async function checkWords(world: World, outcome: Outcome, one: Case): Promise<void> {
  const where = outcome.isMoved ? ELSEWHERE : undefined;
  const words = outcome.isExited ? [] : await world.words(world.process, where);
  words.forEach((word, i) => {
    const page = world.sample()[i]!;
    if (word === null) {
      expect(outcome.isGone || outcome.isLost, `page ${page} is there`).toBe(true);
      return;
    }
    // An addition that failed on the device has left anything there.
    if (outcome.isLost && outcome.brokenAdds > 0) return;
    // Moved between two attempts of the store, the page is stored to nowhere.
    if (outcome.isMoved && outcome.stored.has(page)) return;
    expect([...possibleWords(page, outcome, one)], `page ${page}`).toContain(word);
  });
  for (const child of outcome.children) await checkChild(world, child, outcome, one);
}

/** A child has what its parent had at some moment. */
async function checkChild(
  world: World,
  child: Outcome['children'][number],
  outcome: Outcome,
  one: Case,
): Promise<void> {
  const words = await world.words(child, outcome.isMoved ? ELSEWHERE : undefined);
  words.forEach((word, i) => {
    if (word === null) return;
    const page = world.sample()[i]!;
    const early = [0, 1, 2, 3].map(
      (times) => (one.placement === 'hole' ? 0 : wordOf(page)) + times * OPERAND,
    );
    expect([...possibleWords(page, outcome, one), ...early], `child, page ${page}`).toContain(word);
  });
}

/** All schedules of one set of operations, as far as the runs go. */
async function tryAll(runs: number, cases: fc.Arbitrary<Case>): Promise<void> {
  const property = fc.asyncProperty(fc.scheduler(), turns, cases, runCase);
  await fc.assert(property, { seed: SEED, numRuns: runs });
}

function fixed(
  names: readonly OperationName[],
  place: Placement,
  more: Partial<Case> = {},
): fc.Arbitrary<Case> {
  return fc.constant({ names, placement: place, isHuge: false, ...more });
}

describe('any two or three operations', () => {
  test('on single pages', async () => {
    const names = fc.array(name, { minLength: 2, maxLength: 3 });
    await tryAll(RUNS, fc.record({ names, placement, isHuge: fc.constant(false) }));
  }, 120_000);

  test('on a large folio', async () => {
    const names = fc.array(name, { minLength: 2, maxLength: 3 });
    await tryAll(RUNS / 5, fc.record({ names, placement, isHuge: fc.constant(true) }));
  }, 120_000);
});

describe('faults on one page', () => {
  const names: OperationName[] = ['loads', 'loads', 'loads'];

  test('two and three at once bring each page home once [F62] [F63]', async () => {
    const also = (world: World): void => {
      expect(world.counter('pgmigrate_to_ram')).toBe(4);
      expect(world.counter('pgmigrate_fail')).toBe(0);
    };
    for (const count of [2, 3]) await tryAll(40, fixed(names.slice(0, count), 'device', { also }));
  });

  test('and against eviction, each page comes home once [F61] [F62]', async () => {
    const also = (world: World): void => {
      expect(world.counter('pgmigrate_to_ram')).toBe(4);
      expect(world.machine.kernel.devices[0]!.memory.pagesInUse).toBe(0);
    };
    await tryAll(60, fixed(['loads', 'evict', 'loads'], 'device', { also }));
    await tryAll(60, fixed(['evict', 'evict', 'store0'], 'device', { also }));
  });

  test('a large folio comes home once, as one entry [F63] [F109]', async () => {
    const also = (world: World): void => {
      expect(world.counter('pgmigrate_to_ram')).toBe(512);
      expect(world.counter('thp_migration_success')).toBe(2);
    };
    await tryAll(15, fixed(['loads', 'loads', 'loads'], 'device', { isHuge: true, also }));
    await tryAll(15, fixed(['loads', 'evict'], 'device', { isHuge: true, also }));
  });
});

describe('what changes the address space, behind a migration and against eviction', () => {
  const changes: OperationName[] = ['munmap', 'mremap', 'fork', 'exit', 'dontneed', 'protect'];

  test.each(changes)('%s', async (change) => {
    for (const place of ['ram', 'device'] as const) {
      await tryAll(25, fixed(['toDevice', change, 'evict'], place));
      await tryAll(25, fixed(['home', change, 'evict'], place));
    }
    await tryAll(5, fixed(['toDevice', change, 'evict'], 'device', { isHuge: true }));
    await tryAll(5, fixed(['loads', change, 'evict'], 'device', { isHuge: true }));
  });
});

describe('devices against each other', () => {
  test('adds of two devices and of two mirrors of one all count [F120]', async () => {
    const names: OperationName[] = ['add', 'addOther', 'addAgain'];
    for (const place of ['ram', 'device', 'other'] as const) await tryAll(25, fixed(names, place));
    await tryAll(5, fixed(names, 'device', { isHuge: true }));
  });

  test('migrations of overlapping ranges in both directions', async () => {
    for (const place of ['ram', 'device'] as const) {
      await tryAll(40, fixed(['toDevice', 'upperHome', 'loads'], place));
      await tryAll(40, fixed(['home', 'upperToDevice', 'toOther'], place));
    }
  });

  test('subscriptions that begin and end during invalidations [F88]', async () => {
    await tryAll(40, fixed(['subscribe', 'toDevice', 'munmap'], 'ram'));
    await tryAll(40, fixed(['subscribe', 'subscribe', 'evict'], 'device'));
  });

  test('memory that is unmapped while a device reads it [F95]', async () => {
    for (const place of ['ram', 'device', 'other'] as const) {
      await tryAll(20, fixed(['read', 'munmap'], place));
      await tryAll(20, fixed(['read', 'munmap', 'readOther'], place));
    }
  });

  test('a device that is closed, or whose process ends, in mid-command', async () => {
    for (const end of ['close', 'exit'] as const) {
      for (const work of ['add', 'toDevice', 'home', 'read', 'exclusive'] as const) {
        await tryAll(10, fixed([work, end], 'device'));
        await tryAll(10, fixed([work, end, 'evict'], 'ram'));
      }
    }
  });
});

describe('things that go wrong', () => {
  /** Every second copy fails. */
  const failing = (world: World, outcome: Outcome): void => {
    outcome.isLost = true;
    let jobs = 0;
    world.failJobs(() => jobs++ % 2 === 1);
  };
  /** The device is gone when the third copy begins. */
  const losing = (world: World, outcome: Outcome): void => {
    outcome.isLost = true;
    let jobs = 0;
    world.failJobs(() => {
      if (++jobs === 3) world.engine.markLost('lost in mid-service');
      return jobs >= 3;
    });
  };
  /** RAM for two pages is left. */
  const starving = (world: World, outcome: Outcome): void => {
    outcome.isLost = true;
    world.starve(2);
  };
  const wrong = { failing, losing, starving };
  const work = fc.constantFrom<OperationName[]>(
    ...(['loads', 'toDevice', 'home', 'evict', 'add', 'toOther', 'munmap', 'fork'] as const),
  );

  test.each(Object.keys(wrong))(
    '%s copies and memory',
    async (kind) => {
      const prepare = wrong[kind as keyof typeof wrong];
      const names = fc.array(work, { minLength: 2, maxLength: 3 });
      const place = fc.constantFrom<Placement[]>('ram', 'device', 'other');
      const more = { prepare: fc.constant(prepare) };
      await tryAll(80, fc.record({ names, placement: place, isHuge: fc.constant(false), ...more }));
      await tryAll(10, fc.record({ names, placement: place, isHuge: fc.constant(true), ...more }));
    },
    120_000,
  );
});
