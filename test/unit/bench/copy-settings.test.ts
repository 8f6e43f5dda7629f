/*
 * Settings of copies act on what is measured: the lists that reach the engine show it, and what is
 * not as usual is said wherever the report is read.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { settingsOf, settingsText, unusualText } from '../../../bench/copy-settings.ts';
import type { CopySettings } from '../../../bench/copy-settings.ts';
import { FRAGMENTATIONS } from '../../../bench/fragments.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { textReport } from '../../../bench/report-text.ts';
import { NO_GOALS, isSound, isVerified } from '../../../bench/types.ts';
import type { BenchCell, BenchReport } from '../../../bench/types.ts';
import { JOB_ADD, JOB_CHECKSUM, JOB_COPY } from '../../../src/engine/command-list.ts';
import { interceptSubmit } from './intercept-submit.ts';
import { tinyPlan } from './tiny-plan.ts';

vi.setConfig({ testTimeout: 120_000 });

const BATCH = 48;

/** A list that was submitted. */
interface Submitted {
  readonly strategy: string;
  readonly op: number;
  readonly source: readonly number[];
  readonly target: readonly number[];
}

let submitted: Submitted[] = [];

beforeEach(() => {
  submitted = [];
  interceptSubmit((_engine, list, strategy) => {
    submitted.push({
      strategy,
      op: list.op[0]!,
      source: [...list.source.subarray(0, list.length)],
      target: [...list.target.subarray(0, list.length)],
    });
    return null;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** Runs the sweep of the copy suite, 48 pages of 4 KiB a batch. */
function sweep(change: Partial<CopySettings>): Promise<BenchReport> {
  const usual = tinyPlan();
  const copy = { ...usual.copy, folios: [4096], batches: [BATCH] };
  return runPlan({
    ...usual,
    suites: ['copy'],
    onlyGoals: [NO_GOALS],
    copy,
    settings: { ...usual.settings, ...change },
  });
}

function cellOf(report: BenchReport, direction: string): BenchCell {
  return report.cells.find(({ id }) => id === `copy/${direction}/cpu/4096/${BATCH}`)!;
}

/** Of the timed copies of whole batches one list each: those that the sweep submitted. */
function timed(): Submitted[] {
  return submitted.filter(({ op, strategy }) => op === JOB_COPY && strategy === 'cpu');
}

/** How many neighbours in a list are neighbours in memory. */
function neighbours(frames: readonly number[]): number {
  return frames.filter((frame, at) => at > 0 && frame === frames[at - 1]! + 1).length;
}

describe('fragmentation', () => {
  test.each([
    { fragments: 'contiguous', sources: true, targets: true },
    { fragments: 'scattered', sources: false, targets: false },
    { fragments: 'sources', sources: false, targets: true },
    { fragments: 'targets', sources: true, targets: false },
  ] as const)('$fragments shows in the lists of every cell', async (one) => {
    const report = await sweep({ fragments: one.fragments });
    const lists = timed().filter(({ source }) => source.length === BATCH);
    expect(lists.length).toBeGreaterThan(9);
    for (const { source, target } of lists) {
      expect(neighbours(source) === BATCH - 1).toBe(one.sources);
      expect(neighbours(target) === BATCH - 1).toBe(one.targets);
    }
    expect(cellOf(report, 'to-device').params['fragments']).toBe(one.fragments);
  });

  test('clustered pages have their neighbours in the list, but not beside them', async () => {
    await sweep({ fragments: 'clustered' });
    const [list] = timed().filter(({ source }) => source.length === BATCH);
    expect(neighbours(list!.source)).toBeLessThan(BATCH / 2);
    const inMemory = list!.source.toSorted((a, b) => a - b);
    expect(neighbours(inMemory)).toBeGreaterThanOrEqual(BATCH - BATCH / 16);
  });
});

describe('channels', () => {
  test.each([
    { channels: 1, lists: 1 },
    { channels: 5, lists: 5 },
    // In lists of equal length but the last they would be 12.
    { channels: 14, lists: 14 },
  ])('$channels split a batch into $lists lists', async ({ channels, lists }) => {
    const report = await sweep({ channels });
    for (const direction of ['to-device', 'to-host', 'in-device', 'in-host']) {
      expect(cellOf(report, direction).counts?.['lists']).toBe(lists);
      expect(cellOf(report, direction).verified).toBe(true);
    }
    const whole = timed().filter(({ source }) => source.length === BATCH);
    expect(whole.length > 0).toBe(channels === 1);
  });
});

describe('verification', () => {
  /** Whether a list of a whole batch was submitted: other cells have other numbers of pages. */
  const isOn = (op: number) =>
    submitted.some((list) => list.op === op && list.target.length === BATCH);

  test('by the device computes checksums and reads nothing back', async () => {
    const report = await sweep({ verify: 'device' });
    expect(isOn(JOB_CHECKSUM)).toBe(true);
    expect(isVerified(report)).toBe(true);
  });

  test('by reading back computes none', async () => {
    const report = await sweep({ verify: 'readback' });
    expect(isOn(JOB_CHECKSUM)).toBe(false);
    expect(isOn(JOB_ADD)).toBe(true);
    expect(isVerified(report)).toBe(true);
  });

  test('switched off looks at nothing, and no cell of the sweep says it is right', async () => {
    const report = await sweep({ verify: 'off' });
    expect([isOn(JOB_CHECKSUM), isOn(JOB_ADD)]).toEqual([false, false]);
    // Lines of reference look at their results all the same.
    const cells = report.cells.filter(({ id }) => id.startsWith('copy/'));
    expect(cells.map(({ verified, unchecked }) => [verified, unchecked])).toEqual(
      cells.map(() => [false, true]),
    );
    expect([isSound(report), isVerified(report)]).toEqual([true, false]);
    expect(textReport(report)).toContain(`NOBODY LOOKED AT THE RESULTS OF ${cells.length} CELLS`);
  });

  test.each([
    { verify: 'device', caught: true },
    { verify: 'readback', caught: true },
    { verify: 'off', caught: false },
  ] as const)('$verify, an engine that copies nothing: caught $caught', async (one) => {
    interceptSubmit((_engine, list, strategy) => {
      if (strategy !== 'cpu' || list.op[0] !== JOB_COPY) return null;
      list.done.fill(1, 0, list.length);
      return 0;
    });
    const report = await sweep({ verify: one.verify });
    const cells = report.cells.filter(({ id }) => id.startsWith('copy/'));
    for (const { failure } of cells) expect(failure !== undefined).toBe(one.caught);
    expect(cells).toHaveLength(4);
  });
});

describe('what is said of settings', () => {
  const usual = settingsOf({});

  test('the usual ones are no caution, others are', () => {
    expect(unusualText(usual)).toBe('');
    expect(unusualText(undefined)).toBe('');
    const other = settingsOf({ channels: 4, verify: 'off' });
    expect(unusualText(other)).toBe('channels 4, verify off');
  });

  test('every fragmentation has words of its own', () => {
    const texts = FRAGMENTATIONS.map((fragments) => settingsText({ ...usual, fragments }));
    expect(new Set(texts).size).toBe(FRAGMENTATIONS.length);
  });

  test('they are in the report, which survives JSON', async () => {
    const report = await sweep({ fragments: 'targets', channels: 2, ringDepth: 5 });
    expect(report.env.settings).toEqual({
      fragments: 'targets',
      ringDepth: 5,
      channels: 2,
      verify: 'device',
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(textReport(report)).toContain(
      'settings: only targets scattered, rings of 5, 2 channels, checksums by the device',
    );
  });
});
