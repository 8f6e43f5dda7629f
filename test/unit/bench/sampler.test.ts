/*
 * Sampling: how many samples, which is the last, what fails, what is inside the timed window.
 */
import { describe, expect, test, vi } from 'vitest';
import { nowUs } from '../../../bench/clock.ts';
import { OperationFailure, interleave, sampleOperation } from '../../../bench/sampler.ts';
import type { Operation, SampleBox } from '../../../bench/sampler.ts';
import { pairedOrder } from '../../../bench/stats.ts';
import { ErrnoError, SignalError } from '../../../src/index.ts';

const BOX: SampleBox = { minSamples: 5, maxSamples: 9, budgetMs: 10_000, warmups: 2 };

/** Spins for that long. */
function spin(us: number): void {
  const end = nowUs() + us;
  while (nowUs() < end);
}

/** Runs a body where time goes by only as it says, and the clock shows whole ticks. */
async function onTime<T>(
  tickUs: number,
  body: (spend: (us: number) => void) => Promise<T>,
): Promise<T> {
  let us = 0;
  const clock = vi.spyOn(performance, 'now');
  clock.mockImplementation(() => (Math.floor(us / tickUs) * tickUs) / 1000);
  try {
    return await body((more) => void (us += more));
  } finally {
    clock.mockRestore();
  }
}

function throwing(error: Error): () => never {
  return () => {
    throw error;
  };
}

/** An operation that notes what is called. */
function noting(log: string[], run: () => number | Promise<number> = () => 0): Operation {
  return {
    prepare: (last) => void log.push(last ? 'prepare last' : 'prepare'),
    run: () => {
      log.push('run');
      return run();
    },
    verify: () => {
      log.push('verify');
      return null;
    },
  };
}

describe('sampleOperation', () => {
  test('warm-up is dropped, the maximum is kept, the last sample is announced once', async () => {
    const log: string[] = [];
    const sampled = await sampleOperation(noting(log), BOX, 0);
    expect(sampled.samples).toHaveLength(9);
    expect(sampled.dropped).toBe(2);
    expect(sampled.failure).toBeNull();
    expect(log.filter((line) => line === 'run')).toHaveLength(11);
    expect(log.slice(-3)).toEqual(['prepare last', 'run', 'verify']);
    expect(log.filter((line) => line === 'prepare last')).toHaveLength(1);
  });

  test('what is shorter than the tick is chained until its samples are not', async () => {
    const tickUs = 5;
    const sampled = await onTime(tickUs, (spend) =>
      sampleOperation({ run: () => (spend(0.75), 0) }, BOX, tickUs),
    );
    expect(sampled.chained).toBeGreaterThan(100);
    expect(sampled.dropped).toBeGreaterThan(2);
    expect(Math.min(...sampled.samples)).toBeGreaterThan(0.7);
    expect(Math.max(...sampled.samples)).toBeLessThan(0.8);
  });

  test('a spent time box ends with the minimum', async () => {
    const slow = { run: () => (spin(3000), 0) };
    const sampled = await sampleOperation(slow, { ...BOX, budgetMs: 1 }, 0);
    expect(sampled.samples).toHaveLength(5);
  });

  test('preparing counts against the box but not as time of a sample', async () => {
    const slow = { prepare: () => spin(3000), run: () => 0 };
    const sampled = await sampleOperation(slow, { ...BOX, budgetMs: 1 }, 0);
    expect(sampled.samples).toHaveLength(5);
    expect(Math.min(...sampled.samples)).toBeLessThan(1500);
  });

  test('an operation shorter than 20 ticks is chained and divided', async () => {
    const log: string[] = [];
    const sampled = await onTime(20, (spend) =>
      sampleOperation(
        noting(log, () => (spend(50), 0)),
        BOX,
        20,
      ),
    );
    expect(sampled.chained).toBeGreaterThan(2);
    expect(log.filter((line) => line === 'run')).toHaveLength(
      sampled.dropped + 9 * sampled.chained,
    );
    expect(Math.min(...sampled.samples)).toBeLessThan(200);
  });

  test('an errno ends sampling and is named', async () => {
    let runs = 0;
    const failing = { run: () => (++runs > 4 ? -5 : 0) };
    const sampled = await sampleOperation(failing, BOX, 0);
    expect(sampled.failure).toContain('errno -5');
    expect(sampled.samples).toHaveLength(2);
  });

  test('a failed verification keeps the samples but not their word', async () => {
    const sampled = await sampleOperation(
      { run: () => 0, verify: () => 'page 3 is wrong' },
      BOX,
      0,
    );
    expect(sampled.samples).toHaveLength(9);
    expect(sampled.failure).toBe('page 3 is wrong');
  });

  test.each([
    new OperationFailure('no room'),
    new ErrnoError(-12, 'mmap'),
    new SignalError('SIGBUS', 4096, 'read'),
  ])('$name fails the cell only', async (error) => {
    const sampled = await sampleOperation({ prepare: throwing(error), run: () => 0 }, BOX, 0);
    expect(sampled.failure).toBe(error.message);
  });

  test('any other error is a bug and passes through', async () => {
    const broken = { run: throwing(new TypeError('undefined is not a function')) };
    await expect(sampleOperation(broken, BOX, 0)).rejects.toThrow(TypeError);
  });

  test('a signal stops between two samples', async () => {
    const abort = new AbortController();
    let runs = 0;
    const operation = { run: () => (++runs === 4 && abort.abort(new Error('stopped')), 0) };
    await expect(sampleOperation(operation, BOX, 0, abort.signal)).rejects.toThrow('stopped');
    expect(runs).toBe(4);
  });

  test("phases are the growth of the engine's totals inside the timed windows only", async () => {
    const totals = { encodeMs: 0, submitMs: 0, hostCopyMs: 0, waitMs: 0 };
    const operation: Operation = {
      totals,
      prepare: () => void (totals.waitMs += 1000),
      run: () => {
        totals.encodeMs += 0.002;
        spin(20);
        return 0;
      },
    };
    const { phases } = await sampleOperation(operation, BOX, 0);
    expect(phases?.['encode']).toBeCloseTo(2, 6);
    expect(phases?.['wait']).toBe(0);
    expect(phases?.['other']).toBeGreaterThan(10);
  });

  test('parts that come to more than the whole leave no rest: some went on at once', async () => {
    const totals = { encodeMs: 0, submitMs: 0, hostCopyMs: 0, waitMs: 0 };
    const operation = {
      totals,
      run: () => ((totals.hostCopyMs += 10), (totals.waitMs += 0.15), spin(150), 0),
    };
    const { phases } = await sampleOperation(operation, BOX, 0);
    expect(phases?.['wait']).toBeCloseTo(150, 6);
    expect(phases).not.toHaveProperty('other');
  });

  test('a first run of cold code does not make chains short', async () => {
    const once = async (): Promise<number> => {
      let runs = 0;
      const run = (): number => (spin(runs++ === 0 ? 2000 : 20), 0);
      const box = { ...BOX, warmups: 1 };
      return (await sampleOperation({ run }, box, 20)).chained;
    };
    // 20 ticks of 20 us are as long as 20 operations; on a busy machine these take longer, too.
    const chains: number[] = [];
    for (let i = 0; i < 5; i++) chains.push(await once());
    expect(Math.max(...chains)).toBeGreaterThanOrEqual(3);
    expect(Math.max(...chains)).toBeLessThanOrEqual(20);
  });

  test('an operation with a clock of its own is timed by it', async () => {
    let spent = 0;
    const operation = { clock: () => spent, run: () => ((spent += 7), spin(100), 0) };
    const { samples } = await sampleOperation(operation, BOX, 0);
    expect(new Set(samples)).toEqual(new Set([7]));
  });
});

describe('interleave', () => {
  test('follows the order, verifies each side after its last sample', async () => {
    const log: string[] = [];
    const side = (name: string): Operation => ({
      prepare: (last) => void log.push(`${name}${last ? '!' : ''}`),
      run: () => 0,
      verify: () => (log.push(`${name} verified`), null),
    });
    const order = pairedOrder(2).map((which) => (which === 'a' ? 0 : 1));
    const results = await interleave([side('a'), side('b')], () => order, 1);
    expect(log).toEqual(['a', 'b', 'a', 'b', 'b!', 'b verified', 'a!', 'a verified']);
    expect(results.map((result) => result.samples.length)).toEqual([2, 2]);
  });

  test('the order is told how long a round of all sides takes', async () => {
    const told: number[] = [];
    let prepared = 0;
    // The first round is of cold code and memory, and does not count.
    const slow = { prepare: () => spin(prepared++ < 2 ? 200_000 : 2000), run: () => 0 };
    const order = (roundMs: number) => (told.push(roundMs), [0, 1]);
    const begun = nowUs();
    await interleave([slow, slow], order, 3);
    expect(told).toHaveLength(1);
    expect(told[0]).toBeGreaterThanOrEqual(4);
    expect(told[0]).toBeLessThan(100);
    // More rounds than this one were run.
    expect(told[0]).toBeLessThan((nowUs() - begun) / 1000);
  });

  test('a side that fails does not stop the other', async () => {
    const bad = { run: () => -19 };
    const results = await interleave([bad, { run: () => 0 }], () => [0, 1, 1, 0], 1);
    expect(results[0]).toMatchObject({ samples: [], failure: 'the operation answered errno -19' });
    expect(results[1]?.failure).toBeNull();
    expect(results[1]?.samples).toHaveLength(2);
  });
});
