/*
 * Settings of the benchmark's copies on a WebGPU engine: what the engine counts for each cell, and
 * how many of its staging slots were in use at once.
 */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { CopySettings } from '../../bench/copy-settings.ts';
import { runPlan } from '../../bench/run-suites.ts';
import { NO_GOALS } from '../../bench/types.ts';
import type { BenchReport } from '../../bench/types.ts';
import { SlotRing } from '../../src/gpu/rings.ts';
import type { Slot } from '../../src/gpu/rings.ts';
import { OpenError, bootMachine } from '../../src/index.ts';
import { tinyPlan } from '../unit/bench/tiny-plan.ts';

const MIB = 2 ** 20;
// Software adapters take seconds.
vi.setConfig({ testTimeout: 180_000 });

/** Larger than the largest slot: a batch needs several. */
const BATCH = 2560;

type Take = (this: SlotRing, pages: number) => Slot | null;
type Give = (this: SlotRing, slot: Slot) => void;

/** Runs the sweep of the copy suite on Dawn, a large batch of 4 KiB pages. */
function sweep(change: Partial<CopySettings>): Promise<BenchReport> {
  const usual = tinyPlan();
  return runPlan({
    ...usual,
    engine: 'webgpu',
    suites: ['copy'],
    ramBytes: 64 * MIB,
    deviceBytes: 32 * MIB,
    onlyGoals: [NO_GOALS],
    copy: {
      ...usual.copy,
      folios: [4096],
      batches: [BATCH],
      isFull: false,
      maxCellBytes: 16 * MIB,
    },
    settings: { ...usual.settings, ...change },
  });
}

function countOf(report: BenchReport, id: string, what: string): number {
  const cell = report.cells.find((one) => one.id === `copy/${id}/4096/${BATCH}`)!;
  expect(cell.verified).toBe(true);
  return cell.counts![what]!;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('fragmentation', () => {
  test('pages in order are a command a flight, scattered ones one each or nearly', async () => {
    const contiguous = await sweep({ fragments: 'contiguous' });
    expect(countOf(contiguous, 'to-device/runs', 'copyCommands')).toBeLessThan(10);
    expect(countOf(contiguous, 'to-device/commands', 'copyCommands')).toBe(BATCH);
    const scattered = await sweep({ fragments: 'scattered' });
    expect(countOf(scattered, 'to-device/runs', 'copyCommands')).toBeGreaterThan(BATCH / 4);
    expect(countOf(scattered, 'to-host/runs', 'copyCommands')).toBeGreaterThan(BATCH / 4);
  });
});

describe('rings and channels', () => {
  /** The most slots of the largest size of one ring that were in use at once. */
  async function mostInUse(work: () => Promise<unknown>): Promise<number> {
    const take: Take = Reflect.get(SlotRing.prototype, 'take');
    const give: Give = Reflect.get(SlotRing.prototype, 'give');
    const used = new Map<SlotRing, number>();
    let most = 0;
    vi.spyOn(SlotRing.prototype, 'take').mockImplementation(function (this: SlotRing, pages) {
      const slot = take.call(this, pages);
      if (slot?.pages === this.largestPages) {
        used.set(this, (used.get(this) ?? 0) + 1);
        most = Math.max(most, used.get(this)!);
      }
      return slot;
    });
    vi.spyOn(SlotRing.prototype, 'give').mockImplementation(function (this: SlotRing, slot) {
      if (slot.pages === this.largestPages) used.set(this, (used.get(this) ?? 0) - 1);
      give.call(this, slot);
    });
    await work();
    vi.restoreAllMocks();
    return most;
  }

  test('as many large slots are in use as the ring is deep', async () => {
    const one = await mostInUse(() => sweep({ ringDepth: 1, channels: 1 }));
    const four = await mostInUse(() => sweep({ ringDepth: 4, channels: 4 }));
    expect([one, four]).toEqual([1, 4]);
  });

  test('each channel is a list of its own', async () => {
    const report = await sweep({ channels: 4 });
    for (const id of ['to-device/staging', 'to-host/runs', 'to-device/compute']) {
      expect(countOf(report, id, 'lists')).toBe(4);
      expect(countOf(report, id, 'submissions')).toBeGreaterThanOrEqual(4);
    }
  });

  test('a machine has as many slots of each size as it was told', async () => {
    for (const ringDepth of [1, 5]) {
      const machine = await bootMachine({ ramBytes: 16 * MIB, deviceBytes: 8 * MIB, ringDepth });
      const { parts } = machine.kernel.engine as unknown as { parts: Record<string, SlotRing> };
      expect([...parts['uploads']!.freeBuffers()]).toHaveLength(4 * ringDepth);
      expect([...parts['readbacks']!.freeBuffers()]).toHaveLength(3 * ringDepth);
      await machine.close();
    }
  });

  test.each([0, 9, 1.5, Number.NaN])('rings of %d slots are refused', async (ringDepth) => {
    const error = await bootMachine({ ringDepth }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OpenError);
    expect(String(error)).toMatch(/rings of .* slots.*give 1 to 8/);
  });
});
