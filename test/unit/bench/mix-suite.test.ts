/*
 * Batches of folios of several sizes: what is in one, and that a run measures and verifies them.
 */
import { describe, expect, test, vi } from 'vitest';
import { narrowCopies } from '../../../bench/copy-grid.ts';
import { FRAGMENTATIONS } from '../../../bench/fragments.ts';
import { FramePool } from '../../../bench/frames.ts';
import { mixPages, takeMix } from '../../../bench/mix-suite.ts';
import { textReport } from '../../../bench/report-text.ts';
import { runPlan } from '../../../bench/run-suites.ts';
import { NO_GOALS } from '../../../bench/types.ts';
import type { BenchReport } from '../../../bench/types.ts';
import { Prng } from '../../../src/base/prng.ts';
import { tinyPlan } from './tiny-plan.ts';

vi.setConfig({ testTimeout: 120_000 });

const FRAMES = 16 * 1024;
const pools = () => ({ ram: new FramePool(0, FRAMES), vram: new FramePool(FRAMES, FRAMES) });

describe('a mixed batch', () => {
  test.each(FRAGMENTATIONS)('has each size in its share, aligned, none twice: %s', (how) => {
    const mix = takeMix(pools(), 'to-device', 128, how, new Prng(3))!;
    const { source, target, folioPages } = mix;
    const count = (pages: number): number => folioPages.filter((one) => one === pages).length;
    expect([512, 16, 1].map(count)).toEqual([2, 14, 112]);
    expect(folioPages.reduce((sum, one) => sum + one, 0)).toBe(mixPages(128));
    for (const first of [source, target]) {
      expect(first.every((frame, i) => frame % folioPages[i]! === 0)).toBe(true);
      const frames = [...first].flatMap((frame, i) =>
        Array.from({ length: folioPages[i]! }, (_, page) => frame + page),
      );
      expect(new Set(frames).size).toBe(mixPages(128));
    }
    expect([...source].every((frame) => frame < FRAMES)).toBe(true);
    expect([...target].every((frame) => frame >= FRAMES)).toBe(true);
  });

  test('is shuffled, unless it lies in order', () => {
    const large = (how: 'scattered' | 'contiguous'): number =>
      takeMix(pools(), 'to-host', 64, how, new Prng(3))!.folioPages.indexOf(512);
    expect(large('contiguous')).toBe(0);
    expect(large('scattered')).toBeGreaterThan(0);
  });

  test('is not taken where there is no room', () => {
    const small = { ram: new FramePool(0, 512), vram: new FramePool(FRAMES, FRAMES) };
    expect(takeMix(small, 'to-device', 64, 'scattered', new Prng(3))).toBeNull();
  });
});

describe('a run that asks for them', () => {
  function run(batches: readonly string[], isFull = false): Promise<BenchReport> {
    const plan = tinyPlan({ suites: ['copy'], onlyGoals: [NO_GOALS] });
    const copy = narrowCopies({ ...plan.copy, isFull }, { folios: ['mix'], batches });
    return runPlan({ ...plan, ramBytes: 64 * 2 ** 20, deviceBytes: 32 * 2 ** 20, copy });
  }

  test('measures and verifies them in each direction, and nothing else', async () => {
    const report = await run(['64'], true);
    const cells = report.cells.filter(({ id }) => /^(copy|mix)\//.test(id));
    expect(cells.map(({ id }) => id).toSorted()).toEqual([
      'mix/in-device/cpu/64',
      'mix/in-host/cpu/64',
      'mix/to-device/cpu/64',
      'mix/to-host/cpu/64',
    ]);
    expect(cells.every(({ verified }) => verified)).toBe(true);
    expect(cells[0]!.bytes).toBe((512 + 7 * 16 + 56) * 4096);
    expect(textReport(report)).toContain('Folios of 4 KiB, 64 KiB and 2 MiB in one batch');
  });

  test('leaves out batches that can not hold one of each, and says why', async () => {
    const report = await run(['8', '64']);
    const left = report.omitted.filter(({ id }) => id.startsWith('mix/'));
    expect(left.map(({ id }) => id)).toContain('mix/to-device/cpu/8');
    expect(left.every(({ why }) => why === 'a mix has 64 folios, or a multiple')).toBe(true);
  });
});
