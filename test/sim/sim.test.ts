/*
 * A bounded run of the simulator, and that it is deterministic, thorough and able to fail.
 */
import { describe, expect, test } from 'vitest';
import type { Core } from '../../src/sim/core.ts';
import { makeConfig } from '../../src/sim/config.ts';
import { OPERATIONS } from '../../src/sim/ops/table.ts';
import { runSim } from '../../src/sim/run.ts';
import type { SimOptions } from '../../src/sim/run.ts';
import { shrink } from '../../src/sim/shrink.ts';
import type { World } from '../../src/sim/world.ts';
import { askSimulator, failureIn } from './worker.ts';

const SEEDS = 40;
const STEPS = 4000;

test(`${SEEDS} seeds of ${STEPS} steps violate nothing, and do everything`, async () => {
  const request = { kind: 'seeds', from: 1, count: SEEDS, steps: STEPS, choice: {} } as const;
  const replies = await askSimulator(request);
  expect(failureIn(replies)).toBe('');
  const done = new Set<string>();
  for (const reply of replies) {
    if (reply.kind === 'seed') for (const name of Object.keys(reply.tally)) done.add(name);
  }
  const tasks = OPERATIONS.filter(({ isTask }) => isTask === true).map(({ name }) => name);
  expect(tasks.filter((name) => !done.has(name))).toEqual([]);
});

test('each allocation and each copy of a run may fail', async () => {
  const replies = await askSimulator({ kind: 'nth', seed: 1, steps: 300 });
  expect(failureIn(replies)).toBe('');
  const sites = replies.flatMap((one) => (one.kind === 'nth' ? [[one.site, one.failures]] : []));
  expect(sites.map(([site]) => site)).toEqual(['page', 'table', 'devicePage', 'copy']);
  for (const [, failures] of sites) expect(failures).toBeGreaterThan(0);
});

describe('a run', () => {
  const config = makeConfig(7, OPERATIONS);

  test('is the same for the same seed and steps', async () => {
    const [first, second] = [
      await runSim({ config, steps: 600 }),
      await runSim({ config, steps: 600 }),
    ];
    expect(first.failure).toBe(null);
    expect(second.hash).toBe(first.hash);
    expect(second.tally).toEqual(first.tally);
  });

  test('is another for another seed', async () => {
    const first = await runSim({ config, steps: 600 });
    const second = await runSim({ config: makeConfig(8, OPERATIONS), steps: 600 });
    expect(second.hash).not.toBe(first.hash);
  });

  test('is repeated by its trace', async () => {
    const { hash, trace } = await runSim({ config, steps: 600 });
    expect((await runSim({ config, steps: 0, trace })).hash).toBe(hash);
  });

  test('leaves out what is skipped, and what is not chosen', async () => {
    const skipped = makeConfig(7, OPERATIONS, { skip: ['zap', 'engine'] });
    // Vital: nothing would ever end without the engine.
    expect(skipped.weights['engine']).toBeGreaterThan(0);
    expect(skipped.weights['zap']).toBe(0);
    const chosen = makeConfig(7, OPERATIONS, { only: ['mmap', 'fork'] });
    const named = Object.keys(chosen.weights).filter((name) => chosen.weights[name]! > 0);
    const vital = OPERATIONS.filter(({ isVital }) => isVital === true).map(({ name }) => name);
    expect([...vital, 'mmap', 'fork']).toEqual(expect.arrayContaining(named));
    const { tally, failure } = await runSim({ config: chosen, steps: 600 });
    expect(failure).toBe(null);
    expect(tally['zap']).toBe(undefined);
  });
});

describe('what it finds', () => {
  /** The TLB of core 0 hears of no flush. */
  function deafen(world: World): void {
    const core = world.cores[0]! as { -readonly [K in keyof Core]: Core[K] };
    core.flush = () => true;
  }

  const attempt = (options: SimOptions) => runSim({ ...options, prepare: deafen });

  test('is reported with a log, and shrinks to a few steps that repeat it', async () => {
    const config = makeConfig(3, OPERATIONS);
    const failed = await attempt({ config, steps: 4000 });
    expect(failed.failure?.message).toMatch(/a TLB flush is missing/);
    const small = await shrink({ config, trace: failed.trace }, attempt, () => false);
    expect(small.trace.operations.length).toBeLessThan(40);
    const again = await attempt({ ...small, steps: 0, isLogged: true });
    expect(again.failure).not.toBe(null);
    expect(again.log.length).toBeGreaterThan(0);
  });

  test('includes what never ends', async () => {
    const hang = (world: World): void => {
      for (const { engine } of world.devices) engine.finishAll = () => {};
    };
    const config = { ...makeConfig(3, OPERATIONS), restEvery: 300 };
    const weights = { ...config.weights, migrateToDevice: 20, engine: 0.001 };
    const result = await runSim({ config: { ...config, weights }, steps: 900, prepare: hang });
    expect(result.failure?.message).toMatch(/no rest: .* never end/);
  });

  test('includes what is left after everybody has gone', async () => {
    const leak = (world: World): void => {
      world.sys.mem.getPage(world.sys.zeroPfn);
    };
    const result = await runSim({ config: makeConfig(3, OPERATIONS), steps: 300, prepare: leak });
    expect(result.failure?.message).toMatch(/C1: page 1 refcount 2, owed 1/);
  });
});
