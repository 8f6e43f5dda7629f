/*
 * A device that is lost in the middle of a run ends it: what was measured before stands, what
 * follows is left out, and the report says why.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { runPlan } from '../../../bench/run-suites.ts';
import { textReport } from '../../../bench/report-text.ts';
import { isSound } from '../../../bench/types.ts';
import type { BenchProgress } from '../../../bench/types.ts';
import type { CpuEngine } from '../../../src/engine/cpu-engine.ts';
import { interceptSubmit } from './intercept-submit.ts';
import { tinyPlan } from './tiny-plan.ts';

// A run of suites takes seconds, on a busy machine a minute.
vi.setConfig({ testTimeout: 120_000 });

afterEach(() => {
  vi.restoreAllMocks();
});

/** The engine of the machine that a run opens, from its first list on. */
function watchEngine(): { engine: CpuEngine | null } {
  const seen: { engine: CpuEngine | null } = { engine: null };
  interceptSubmit((engine) => {
    seen.engine = engine;
    return null;
  });
  return seen;
}

test('a lost device ends the run, and the report has what came before', async () => {
  const seen = watchEngine();
  const onProgress = ({ cell }: BenchProgress): void => {
    if (cell?.id === 'reference/gather-4k') seen.engine!.markLost('somebody pulled the plug');
  };
  const report = await runPlan(tinyPlan({ suites: ['migrate', 'copy'] }), onProgress);
  expect(report.env.deviceLost).toBe('somebody pulled the plug');
  expect(report.cells.map(({ id }) => id)).toContain('reference/gather-4k');
  expect(report.cells.every(({ verified }) => verified)).toBe(true);
  expect(report.omitted.at(-1)).toEqual({
    id: 'all that was left',
    why: 'the device was lost: somebody pulled the plug',
  });
  expect(isSound(report)).toBe(false);
  expect(textReport(report)).toContain('THE RUN ENDED EARLY: somebody pulled the plug');
});

test('a cell that the loss breaks says so, and no cell follows it', async () => {
  const seen = watchEngine();
  const onProgress = ({ note, cell }: BenchProgress): void => {
    const isAnnounced = cell === undefined && note.startsWith('copy/to-device/cpu/4096/8');
    // After the run has looked whether the device is there.
    if (isAnnounced) setTimeout(() => seen.engine!.markLost('gone'), 1);
  };
  const report = await runPlan(tinyPlan({ suites: ['copy'] }), onProgress);
  const broken = report.cells.filter(({ verified }) => !verified);
  expect(broken.length).toBeLessThanOrEqual(1);
  expect(report.cells.slice(0, -1).every(({ verified }) => verified)).toBe(true);
  expect(report.env.deviceLost).toBe('gone');
});

test('a run that is cancelled after a loss is cancelled', async () => {
  const seen = watchEngine();
  const abort = new AbortController();
  const onProgress = ({ cell }: BenchProgress): void => {
    if (cell?.id !== 'reference/gather-4k') return;
    seen.engine!.markLost('gone');
    abort.abort(new Error('enough'));
  };
  const run = runPlan(tinyPlan({ suites: ['migrate'] }), onProgress, abort.signal);
  await expect(run).rejects.toThrow('enough');
});

test('an error without a loss is an error', async () => {
  interceptSubmit(() => {
    throw new Error('a bug');
  });
  const run = runPlan(tinyPlan({ suites: ['copy'] }));
  await expect(run).rejects.toThrow('a bug');
});
