/*
 * Calibration against engines whose times are made up: what `auto` goes by then. The clock stands
 * still but for what these engines take.
 */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { CpuEngine } from '../../../src/engine/cpu-engine.ts';
import { JOB_COPY } from '../../../src/engine/command-list.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { calibrate } from '../../../src/gpu/calibrate.ts';
import { crossover, movesByKernel, usualPaths } from '../../../src/gpu/strategies/paths.ts';
import type { Paths } from '../../../src/gpu/strategies/paths.ts';

/** Milliseconds of a list, by strategy: what each costs at least, a row, and a page. */
type Costs = Readonly<Record<string, readonly [base: number, row: number, page?: number]>>;

const SCRATCH = { hostFrame: 0, vramFrame: 2048, frames: 1024 };
let adapters = 0;

class TimedEngine extends CpuEngine {
  readonly lists: string[] = [];
  fails = false;
  /** Milliseconds that a list takes longer. */
  disturbs: (list: CommandList, strategy: StrategyName, count: number) => number = () => 0;
  private readonly costs: Costs;
  private readonly clock: { ms: number };

  constructor(costs: Costs, clock: { ms: number }, device: string) {
    super({ ram: new Uint8Array(2048 * 4096), geometry: { hostFrames: 2048, vramFrames: 2048 } });
    Object.assign(this.adapter as object, { device });
    this.costs = costs;
    this.clock = clock;
  }

  override submit(list: CommandList, strategy: StrategyName = 'auto'): number {
    this.lists.push(`${strategy} ${list.length}`);
    const [base, row, page = 0] = this.costs[strategy]!;
    const pages = list.count.subarray(0, list.length).reduce((sum, count) => sum + count, 0);
    this.clock.ms += base + row * list.length + page * pages;
    this.clock.ms += this.disturbs(list, strategy, this.lists.length);
    return this.fails ? -5 : 0;
  }
}

function stoppedClock(): { ms: number } {
  const clock = { ms: 0 };
  vi.spyOn(performance, 'now').mockImplementation(() => clock.ms);
  return clock;
}

function measure(
  costs: Costs,
  device = `made up ${adapters++}`,
  disturbs?: TimedEngine['disturbs'],
  isSoftware = true,
): [Promise<Paths>, TimedEngine] {
  const engine = new TimedEngine(costs, stoppedClock(), device);
  if (disturbs !== undefined) engine.disturbs = disturbs;
  Object.assign(engine.adapter as object, { isSoftware });
  return [calibrate(engine, SCRATCH), engine];
}

/** How lists of moves go: few single pages, many, as many as one row, and large folios. */
function moves(paths: Paths): boolean[] {
  const sizes = [
    [32, 32],
    [256, 256],
    [1, 256],
    [8, 8 * 512],
  ] as const;
  return sizes.map(([rows, pages]) => movesByKernel(paths, rows, pages));
}

afterEach(() => vi.restoreAllMocks());

describe('calibrate', () => {
  test('kernels are never taken where commands are faster', async () => {
    const [paths] = measure({ writeBuffer: [0.1, 0.02], runs: [0.5, 0.001], compute: [0.5, 0.01] });
    expect(await paths).toMatchObject({
      writePages: 21,
      uploadKernelRows: Number.POSITIVE_INFINITY,
      downloadKernelRows: Number.POSITIVE_INFINITY,
      clearKernelRows: Number.POSITIVE_INFINITY,
    });
    expect(moves(await paths)).toEqual([false, false, false, false]);
  });

  test('what large folios cost by kernel is not guessed from what single pages cost', async () => {
    const [paths] = measure({
      writeBuffer: [0.1, 0.02],
      runs: [0.1, 0.0045, 0.0005],
      compute: [0.1, 0, 0.0025],
    });
    expect(moves(await paths)).toEqual([true, true, false, false]);
    const { kernelMoves, commandMoves } = await paths;
    expect(kernelMoves.page).toBeCloseTo(2.5);
    expect(commandMoves.row).toBeCloseTo(4.5, 1);
  });

  test('uploads go by writeBuffer up to a bound where runs are not faster', async () => {
    const costs: Costs = { writeBuffer: [0.1, 0.004], runs: [0.14, 0.004], compute: [9, 0] };
    const [paths] = measure(costs);
    expect(await paths).toMatchObject({ writePages: 32 });
  });

  test('kernels of a CPU must win by far, those of a GPU by little', async () => {
    const costs: Costs = { writeBuffer: [9, 0], runs: [0.1, 0.005], compute: [0.1, 0.0042] };
    const [onCpu] = measure(costs);
    expect(moves(await onCpu)).toEqual([false, false, false, false]);
    expect(await onCpu).toMatchObject({ uploadKernelRows: Number.POSITIVE_INFINITY });
    const [onGpu] = measure(costs, undefined, undefined, false);
    expect(moves(await onGpu)).toEqual([true, true, false, true]);
    expect(await onGpu).toMatchObject({ uploadKernelRows: 32 });
  });

  test('a way that one disturbance put behind is tried again', async () => {
    const costs: Costs = { writeBuffer: [0.1, 0.02], runs: [0.1, 0.004], compute: [0.5, 0.01] };
    for (const rows of [1, 32, 256]) {
      const isFirst = new Set<string>();
      const [paths] = measure(costs, undefined, (list, strategy, count) => {
        if (rows === 1 && list.count[0] === 1) return 0;
        const id = `${list.op[0]} ${list.source[0]! < 2048} ${list.target[0]! < 2048}`;
        // Past the warm-up, whose time nobody looks at.
        if (count < 20 || strategy !== 'runs' || list.length !== rows || isFirst.has(id)) return 0;
        isFirst.add(id);
        return 5;
      });
      expect(await paths).toMatchObject({
        uploadKernelRows: Number.POSITIVE_INFINITY,
        downloadKernelRows: Number.POSITIVE_INFINITY,
        clearKernelRows: Number.POSITIVE_INFINITY,
      });
      expect(moves(await paths)).toEqual([false, false, false, false]);
      expect(isFirst.size).toBe(rows === 1 ? 1 : 4);
    }
  });

  test('small disturbances do not decide for folios larger than any tried', async () => {
    const costs: Costs = { writeBuffer: [2, 0], runs: [1.2, 0.0002], compute: [1.2, 0, 0.0005] };
    const disturbed = new Set<number>();
    const [paths] = measure(costs, undefined, (list, strategy, count) => {
      const isMove = list.op[0] === JOB_COPY && list.source[0]! >= 2048 && list.target[0]! >= 2048;
      const pages = list.length * list.count[0]!;
      if (count < 20 || strategy !== 'runs' || !isMove || pages < 256) return 0;
      if (disturbed.has(list.length)) return 0;
      disturbed.add(list.length);
      return 0.3;
    });
    expect(moves(await paths)).toEqual([false, false, false, false]);
    expect(disturbed).toEqual(new Set([1, 256]));
  });

  test('kernels are taken from where they cross the commands', async () => {
    const [paths] = measure({
      writeBuffer: [0.1, 0.02],
      runs: [0.1, 0.005],
      compute: [0.502, 0.001],
    });
    const rows = 101;
    const { uploadKernelRows, downloadKernelRows, clearKernelRows } = await paths;
    expect([uploadKernelRows, downloadKernelRows, clearKernelRows]).toEqual([rows, rows, rows]);
  });

  test('nothing goes by writeBuffer where that is slow from the first page on', async () => {
    const [paths] = measure({ writeBuffer: [2, 0.1], runs: [0.1, 0.005], compute: [0.1, 0.001] });
    expect(await paths).toMatchObject({ writePages: 0, uploadKernelRows: 32 });
    expect(moves(await paths)).toEqual([true, true, false, true]);
  });

  test('it takes a bounded time, and the same adapter is only warmed up later', async () => {
    const costs: Costs = { writeBuffer: [5, 0], runs: [5, 0], compute: [5, 0] };
    const [first, engine] = measure(costs, 'slow');
    await first;
    expect(engine.lists.length).toBeLessThanOrEqual(2 * 21);
    const [second, again] = measure({ writeBuffer: [0, 0], runs: [0, 0], compute: [0, 0] }, 'slow');
    expect(await second).toEqual(await first);
    // Each trial of merged runs once.
    expect(again.lists.every((line) => line.startsWith('runs '))).toBe(true);
    expect(again.lists).toHaveLength(10);
  });

  test('a machine too small, or an engine that fails, leaves the usual values', async () => {
    const costs: Costs = { writeBuffer: [2, 0], runs: [0, 0], compute: [0, 0] };
    const small = new TimedEngine(costs, stoppedClock(), 'small');
    expect(await calibrate(small, { ...SCRATCH, frames: 127 })).toEqual(usualPaths(true));
    expect(small.lists).toEqual([]);
    const broken = new TimedEngine(costs, stoppedClock(), 'broken');
    broken.fails = true;
    expect(await calibrate(broken, SCRATCH)).toEqual(usualPaths(true));
    expect(broken.lists).toHaveLength(1);
  });
});

describe('crossover', () => {
  const at = (a: readonly [number, number], b: readonly [number, number]): number =>
    crossover({ few: 10, many: 110, a, b }, 999);

  test('is where the lines meet', () => expect(at([10, 110], [60, 60])).toBe(60));
  test('is the first point when b is faster there', () => expect(at([10, 110], [5, 5])).toBe(10));
  test('is not reached when b is not clearly faster', () =>
    expect(at([10, 100], [60, 96])).toBe(999));
  test('is reached when it is', () => expect(at([10, 100], [60, 94])).toBe(100));
});
