/*
 * G16 on Dawn: open on a software adapter, decided where the adapter is said to be none; and that
 * moves by kernel, which it times, are not cut to the bounce buffer.
 */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { GPU_CELLS } from '../../bench/gpu-goal.ts';
import { RunContext } from '../../bench/run-context.ts';
import { runPlan } from '../../bench/run-suites.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';
import { tinyPlan } from '../unit/bench/tiny-plan.ts';

const MIB = 2 ** 20;
vi.setConfig({ testTimeout: 120_000 });

const HOST = 64;
const VRAM = 8192;

async function open(maxArenaBytes?: number): Promise<WebGpuEngine> {
  const ram = new Uint8Array(new SharedArrayBuffer(HOST * 4096));
  const geometry = { hostFrames: HOST, vramFrames: VRAM };
  const opened = await createWebGpuEngine({ ram, geometry, checked: true, maxArenaBytes });
  if (!('submit' in opened)) throw new Error(opened.cause);
  return opened;
}

/** Moves every other page of the first `pages` to the second half of VRAM. */
function moves(pages: number): CommandList {
  const list = new CommandList(pages);
  for (let i = 0; i < pages; i++) list.copy(HOST + i, HOST + VRAM / 2 + ((7 * i) % pages));
  return list;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('moves inside an arena by kernel', () => {
  test('need no bounce buffer: thousands of pages are one submission', async () => {
    const engine = await open();
    await engine.submit(moves(4001), 'compute');
    expect(engine.stats.submissions).toBe(1);
    await engine.submit(moves(4001), 'commands');
    expect(engine.stats.submissions).toBe(1 + Math.ceil(4001 / 1024));
    await engine.close();
  });

  test('are cut to the bounce buffer where there is more than one arena', async () => {
    const engine = await open(16 * MIB);
    await engine.submit(moves(4001), 'compute');
    expect(engine.stats.submissions).toBe(Math.ceil(4001 / 1024));
    await engine.close();
  });
});

describe('the benchmark', () => {
  const usual = tinyPlan();
  const plan = {
    ...usual,
    engine: 'webgpu' as const,
    suites: ['copy' as const],
    ramBytes: 128 * MIB,
    deviceBytes: 32 * MIB,
  };

  test('leaves G16 open on a software adapter and says why', async () => {
    const report = await runPlan({ ...plan, onlyGoals: ['G16'] });
    const goal = report.goals.find(({ id }) => id === 'G16')!;
    expect(goal.holds).toBeNull();
    expect(goal.why).toContain('needs a GPU');
    expect(report.cells.filter(({ id }) => id.startsWith('goal/G16'))).toEqual([]);
  });

  test('decides G16 where the adapter is none, each cell verified', async () => {
    vi.spyOn(RunContext.prototype, 'expect').mockImplementation(function (this: RunContext) {
      Object.assign(this.copyMachine.engine.adapter, { isSoftware: false });
    });
    const report = await runPlan({ ...plan, onlyGoals: ['G16'] });
    const goal = report.goals.find(({ id }) => id === 'G16')!;
    expect(goal.parts.map(({ target }) => target)).toEqual([0.9, 0.85, 5]);
    expect(goal.holds).toBe(goal.parts.every((part) => part.holds));
    const cells = report.cells.filter(({ id }) => id.startsWith('goal/G16'));
    expect(cells).toHaveLength(GPU_CELLS);
    expect(cells.filter(({ verified }) => !verified)).toEqual([]);
  });
});
