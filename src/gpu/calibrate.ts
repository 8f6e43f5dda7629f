/*
 * Finds out which way of moving pages is best on this adapter, by moving some: scattered pages, few
 * and many, each way, a few times in turn. The best time of each way counts, since everything that
 * disturbs a measurement makes it longer.
 *
 * It is also the engine's warm-up: staging slots are mapped, kernels compiled, and buffers touched
 * before anybody waits for them. An adapter is measured once in a thread; later engines on it are
 * only warmed up.
 *
 * Source: our own.
 */
import { CommandList } from '../engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../engine/copy-engine.ts';
import { crossover, usualPaths } from './strategies/paths.ts';
import type { Paths } from './strategies/paths.ts';

/** Frames that nobody uses yet: twice as many as pages are moved, so that they can be scattered. */
export interface Scratch {
  readonly hostFrame: number;
  readonly vramFrame: number;
  readonly frames: number;
}

/** Pages of a large trial and of a small one; and of those that may go by writeBuffer. */
const MANY = 512;
const FEW = 32;
const SINGLE = 1;
/** Rounds over all trials, as far as the time allows. */
const ROUNDS = 3;
const BUDGET_MS = 80;
/** Largest upload that is ever worth a `writeBuffer` a page. */
const MOST_WRITES = 128;

const UP = 'up';
const DOWN = 'down';
const MOVE = 'move';
const CLEAR = 'clear';
type Kind = typeof UP | typeof DOWN | typeof MOVE | typeof CLEAR;

interface Trial {
  readonly kind: Kind;
  readonly strategy: StrategyName;
  readonly pages: number;
  /** Best time so far, microseconds. */
  best: number;
}

const known = new Map<string, Paths>();

/**
 * Measures an engine that nobody uses yet, or warms it up where its adapter is known.
 *
 * @returns what `auto` is to go by. Context: waits, for about 80 ms; scratch frames change.
 */
export async function calibrate(engine: CopyEngine, scratch: Scratch): Promise<Paths> {
  const { adapter } = engine;
  const { vendor, architecture, device, description, isSoftware } = adapter;
  const usual = usualPaths(isSoftware);
  const most = Math.min(MANY, Math.floor(scratch.frames / 2));
  if (most < 2 * FEW) return usual;
  const key = JSON.stringify([vendor, architecture, device, description, most]);
  const before = known.get(key);
  const trials = makeTrials(most);
  const list = new CommandList(most);
  // The first round only warms up; of a known adapter the ways that most lists go.
  for (const trial of trials) {
    if (before !== undefined && trial.strategy !== 'runs') continue;
    if (!(await runTrial(engine, scratch, list, trial))) return usual;
    trial.best = Number.POSITIVE_INFINITY;
  }
  if (before !== undefined) return before;
  const end = performance.now() + BUDGET_MS;
  for (let round = 0; round < ROUNDS && performance.now() < end; round++) {
    for (const trial of trials) {
      if (!(await runTrial(engine, scratch, list, trial))) return usual;
    }
  }
  const paths = judge(trials, most, usual);
  known.set(key, paths);
  return paths;
}

function makeTrials(most: number): Trial[] {
  const trials: Trial[] = [];
  const add = (kind: Kind, strategy: StrategyName, ...sizes: readonly number[]): void => {
    for (const pages of sizes) trials.push({ kind, strategy, pages, best: 0 });
  };
  add(UP, 'writeBuffer', SINGLE, FEW);
  add(UP, 'runs', SINGLE, FEW, most);
  add(UP, 'compute', FEW, most);
  add(DOWN, 'runs', FEW, most);
  add(DOWN, 'compute', FEW, most);
  add(CLEAR, 'runs', FEW, most);
  add(CLEAR, 'compute', FEW, most);
  add(MOVE, 'runs', FEW);
  add(MOVE, 'compute', FEW);
  return trials;
}

/** @returns false when the engine failed: then nothing was learned. */
async function runTrial(
  engine: CopyEngine,
  scratch: Scratch,
  list: CommandList,
  trial: Trial,
): Promise<boolean> {
  const { hostFrame, vramFrame } = scratch;
  const { kind, strategy, pages } = trial;
  list.reset();
  for (let i = 0; i < pages; i++) {
    // Every other frame, so that no two rows are one run.
    const host = hostFrame + 2 * i;
    const vram = vramFrame + 2 * i;
    if (kind === UP) list.copy(host, vram);
    else if (kind === DOWN) list.copy(vram, host);
    else if (kind === CLEAR) list.clear(vram);
    else list.copy(vram, vram + 1);
  }
  const begun = performance.now();
  if ((await engine.submit(list, strategy)) !== 0) return false;
  const us = (performance.now() - begun) * 1000;
  trial.best = Math.min(trial.best, us);
  return true;
}

function judge(trials: readonly Trial[], most: number, usual: Paths): Paths {
  const best = (kind: Kind, strategy: StrategyName, pages: number): number =>
    trials.find((one) => one.kind === kind && one.strategy === strategy && one.pages === pages)
      ?.best ?? Number.NaN;
  const kernelRows = (kind: Kind): number => {
    const a = [best(kind, 'runs', FEW), best(kind, 'runs', most)] as const;
    const b = [best(kind, 'compute', FEW), best(kind, 'compute', most)] as const;
    return crossover({ few: FEW, many: most, a, b }, Number.POSITIVE_INFINITY);
  };
  if (!trials.every((trial) => Number.isFinite(trial.best))) return usual;
  const writes = [best(UP, 'writeBuffer', SINGLE), best(UP, 'writeBuffer', FEW)] as const;
  const runs = [best(UP, 'runs', SINGLE), best(UP, 'runs', FEW)] as const;
  return {
    writePages: crossover({ few: SINGLE, many: FEW, a: writes, b: runs }, MOST_WRITES) - 1,
    uploadKernelRows: kernelRows(UP),
    downloadKernelRows: kernelRows(DOWN),
    clearKernelRows: kernelRows(CLEAR),
    movesByKernel: best(MOVE, 'compute', FEW) < best(MOVE, 'runs', FEW),
  };
}
