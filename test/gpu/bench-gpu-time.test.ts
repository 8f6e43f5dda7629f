/*
 * Time on the device by timestamp queries: it is that of the submitted commands, it changes nothing
 * in what is copied, and it is left out where nobody can tell.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { GpuTime } from '../../bench/gpu-time.ts';
import { runPlan } from '../../bench/run-suites.ts';
import { textReport } from '../../bench/report-text.ts';
import { OperationFailure } from '../../bench/sampler.ts';
import { NO_GOALS } from '../../bench/types.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { StrategyName } from '../../src/engine/copy-engine.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';
import { tinyPlan } from '../unit/bench/tiny-plan.ts';

vi.setConfig({ testTimeout: 120_000 });

const HOST = 2100;
const USUAL = 1000;
let engine: WebGpuEngine;
let words: Uint32Array;

beforeAll(async () => {
  const ram = new Uint8Array(new SharedArrayBuffer(HOST * 4096));
  words = new Uint32Array(ram.buffer);
  const geometry = { hostFrames: HOST, vramFrames: 2048 };
  const opened = await createWebGpuEngine({ ram, geometry, checked: true });
  if (isEngineOpenError(opened)) throw new Error(opened.cause);
  engine = opened;
});
afterAll(() => engine.close());

const clears = (pages: number): { run: () => Promise<number> } => ({
  run: async () => {
    const list = new CommandList(1);
    list.clear(HOST, pages);
    return engine.submit(list, 'compute');
  },
});

test('more work takes longer, and not longer than its submitter waits', async ({ skip }) => {
  const time = GpuTime.of(engine);
  if (time === null) skip('this device has no timestamps');
  await time!.measure(clears(2048), USUAL);
  let wall = 0;
  const timed = clears(2048);
  const many = await time!.measure(
    {
      run: async () => {
        const begun = performance.now();
        const status = await timed.run();
        wall = Math.max(wall, (performance.now() - begun) * 1000);
        return status;
      },
    },
    USUAL,
  );
  expect(many).toBeLessThanOrEqual(wall);
  // On a software device, whatever else the machine does is in these times, but not in each.
  let few = Infinity;
  for (let i = 0; i < 100 && many! <= 5 * few; i++) {
    few = Math.min(few, (await time!.measure(clears(1), USUAL))!);
  }
  expect(few).toBeGreaterThanOrEqual(0);
  expect(many).toBeGreaterThan(5 * few);
  time!.close();
});

test.each(['runs', 'compute', 'writeBuffer'] as const)(
  '%s: all submissions of a list are in it, and bytes are as without',
  async (strategy: StrategyName) => {
    const time = GpuTime.of(engine)!;
    words.fill(0x1234_5678, 0, 2048 * 1024);
    const list = new CommandList(2048);
    for (let i = 0; i < 2048; i++) list.copy(i, HOST + 2047 - i);
    const us = await time.measure({ run: () => engine.submit(list, strategy) }, USUAL);
    expect(us).toBeGreaterThan(strategy === 'writeBuffer' ? -1 : 0);
    expect(Object.hasOwn(engine.device.queue, 'submit')).toBe(false);
    words.fill(0);
    const back = new CommandList(1);
    back.copy(HOST, 0, 2048);
    expect(await engine.submit(back)).toBe(0);
    expect(words.subarray(0, 2048 * 1024).every((word) => word === 0x1234_5678)).toBe(true);
    expect(engine.deviceErrors).toEqual([]);
    time.close();
  },
);

test('there is no such time for what fails, submits nothing, or takes too long', async () => {
  const time = GpuTime.of(engine)!;
  const run = vi.fn(() => 0);
  expect(await time.measure({ run }, USUAL)).toBeNull();
  expect(await time.measure({ run: () => -5 }, USUAL)).toBeNull();
  const fail = (): never => {
    throw new OperationFailure('no');
  };
  expect(await time.measure({ run: fail }, USUAL)).toBeNull();
  expect(Object.hasOwn(engine.device.queue, 'submit')).toBe(false);
  run.mockClear();
  expect(await time.measure({ run }, 1e9)).toBeNull();
  expect(run).not.toHaveBeenCalled();
  expect(GpuTime.of({})).toBeNull();
  time.close();
});

test('migrations by hand have it from rounds of their own, and bytes are as without', async () => {
  const usual = tinyPlan();
  const suites = ['migrate'] as const;
  const plan = { ...usual, engine: 'webgpu' as const, suites, ramBytes: 64 * 2 ** 20 };
  const report = await runPlan({ ...plan, onlyGoals: [NO_GOALS] });
  const cell = report.cells.find(({ id }) => id === 'phases/to-host/512')!;
  expect(cell.verified).toBe(true);
  expect(cell.gpuUs).toBeGreaterThanOrEqual(0);
  expect(cell.counts!['submissions']).toBeGreaterThan(0);
  expect(cell.samples).toHaveLength(3);
});

test('cells of the copy suite have it, those of the CPU have not', async () => {
  const usual = tinyPlan();
  const report = await runPlan({
    ...usual,
    engine: 'webgpu',
    suites: ['copy'],
    ramBytes: 64 * 2 ** 20,
    onlyGoals: [NO_GOALS],
    // Far longer than a tick of the timestamps.
    copy: {
      ...usual.copy,
      folios: [65536],
      batches: [32],
      maxCellBytes: 4 * 2 ** 20,
      isFull: false,
    },
  });
  const at = (id: string): number | undefined =>
    report.cells.find((cell) => cell.id === `copy/${id}/65536/32`)!.gpuUs;
  expect(at('to-device/runs')).toBeGreaterThan(0);
  expect(at('to-host/compute')).toBeGreaterThan(0);
  expect(at('in-host/cpu')).toBeUndefined();
  expect(textReport(report)).toContain('RAM to VRAM, us on the device by timestamp queries');
  expect(textReport(report)).not.toMatch(/^RAM to RAM, us/m);
  expect(at('to-device/writeBuffer')).toBeUndefined();
});
