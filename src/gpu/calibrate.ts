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
import { crossover, moveCost, movesByKernel, usualPaths } from './strategies/paths.ts';
import type { MoveCost, Paths } from './strategies/paths.ts';

/** Frames that nobody uses yet: twice as many as pages are moved, so that they can be scattered. */
export interface Scratch {
  readonly hostFrame: number;
  readonly vramFrame: number;
  readonly frames: number;
}

/** Pages of a large trial and of a small one; and of those that may go by writeBuffer. */
const MANY = 256;
const FEW = 32;
const SINGLE = 1;
/** Rounds over all trials, as far as the time allows. */
const ROUNDS = 5;
/** Times in a row that a small trial is made: they take little, and are disturbed most. */
const SMALL_TIMES = 2;
const BUDGET_MS = 45;
/** More rounds over what is other than usual, and the time kept for them: some at least. */
const DOUBTFUL_ROUNDS = 2;
const DOUBTFUL_MS = 25;
const LEAST_DOUBTFUL_MS = 12;
/** What all of it may take with its warm-up, but for the trial that is under way then. */
const LIMIT_MS = 90;
/** Rows and pages of a list of folios far larger than any that is tried. */
const LARGE_FOLIOS = [8, 8 * 512];
/** A way that took so many times as long as another is not tried again. */
const HOPELESS = 2;
/** Largest upload that may go by a `writeBuffer` a page: at 64 pages it never was the best way. */
const MOST_WRITES = FEW;

const UP = 'up';
const DOWN = 'down';
const MOVE = 'move';
const CLEAR = 'clear';
type Kind = typeof UP | typeof DOWN | typeof MOVE | typeof CLEAR;

interface Trial {
  readonly kind: Kind;
  readonly strategy: StrategyName;
  readonly pages: number;
  /** Whether the pages are one row; else each is a row. */
  readonly isRow: boolean;
  /** Best time so far, microseconds. */
  best: number;
}

const known = new Map<string, Paths>();

/**
 * Measures an engine that nobody uses yet, or warms it up where its adapter is known.
 *
 * @returns what `auto` is to go by. Context: waits, for at most 100 ms where one round over
 * all trials takes less than that (docs/performance.md); scratch frames change.
 */
export async function calibrate(engine: CopyEngine, scratch: Scratch): Promise<Paths> {
  const { adapter } = engine;
  const { vendor, architecture, device, description, isSoftware } = adapter;
  const usual = usualPaths(isSoftware);
  const most = Math.min(MANY, Math.floor(scratch.frames / 2));
  if (most < 2 * FEW) return usual;
  const limit = performance.now() + LIMIT_MS;
  const key = JSON.stringify([vendor, architecture, device, description, most]);
  const before = known.get(key);
  const trials = makeTrials(most);
  const list = new CommandList(most);
  for (const trial of trials) {
    if (!warmsUp(trial, before !== undefined, most)) continue;
    if (!(await runTrial(engine, scratch, list, trial))) return usual;
    trial.best = Number.POSITIVE_INFINITY;
  }
  if (before !== undefined) return before;
  const end = Math.min(performance.now() + BUDGET_MS, limit - DOUBTFUL_MS);
  for (let round = 0; round < ROUNDS && (round === 0 || performance.now() < end); round++) {
    const hopeful = round < 2 ? [...trials] : trials.filter((one) => !isHopeless(one, trials));
    // What comes later finds code and memory warmer: each way in turn.
    if (round % 2 === 1) hopeful.reverse();
    if (!(await runRound(engine, scratch, list, hopeful, end))) return usual;
  }
  let paths = judge(trials, most, usual);
  const latest = Math.max(limit, performance.now() + LEAST_DOUBTFUL_MS);
  for (let round = 0; round < DOUBTFUL_ROUNDS && performance.now() < latest; round++) {
    const doubtful = trials.filter(({ kind }) => isUnusual(kind, paths, usual, most));
    if (!(await runRound(engine, scratch, list, doubtful, latest))) return usual;
    paths = judge(trials, most, usual);
  }
  known.set(key, paths);
  return paths;
}

/**
 * Whether a trial is made once before all else: of each way the small ones, and the large ones that
 * use large staging slots; of a known adapter the ways that most lists go.
 */
function warmsUp({ kind, strategy, pages }: Trial, isKnown: boolean, most: number): boolean {
  if (strategy !== 'runs') return !isKnown && pages < most;
  return isKnown || pages < most || kind === UP || kind === DOWN;
}

function makeTrials(most: number): Trial[] {
  const trials: Trial[] = [];
  const add = (kind: Kind, strategy: StrategyName, ...sizes: readonly number[]): void => {
    for (const pages of sizes)
      trials.push({ kind, strategy, pages, isRow: false, best: Number.POSITIVE_INFINITY });
  };
  add(UP, 'writeBuffer', SINGLE, FEW);
  add(UP, 'runs', SINGLE, FEW, most);
  add(UP, 'compute', FEW, most);
  add(DOWN, 'runs', FEW, most);
  add(DOWN, 'compute', FEW, most);
  add(CLEAR, 'runs', FEW, most);
  add(CLEAR, 'compute', FEW, most);
  for (const strategy of ['runs', 'compute'] as const) {
    add(MOVE, strategy, FEW, most);
    trials.push({ kind: MOVE, strategy, pages: most, isRow: true, best: Number.POSITIVE_INFINITY });
  }
  return trials;
}

/**
 * Runs trials in turn, small ones more than once as long as there is time. When it is over, only
 * those are run that never were.
 *
 * @returns false when the engine failed: then nothing was learned
 */
async function runRound(
  engine: CopyEngine,
  scratch: Scratch,
  list: CommandList,
  trials: readonly Trial[],
  end: number,
): Promise<boolean> {
  for (const trial of trials) {
    if (performance.now() >= end && Number.isFinite(trial.best)) continue;
    let left = trial.pages <= FEW ? SMALL_TIMES : 1;
    do {
      if (!(await runTrial(engine, scratch, list, trial))) return false;
      left -= 1;
    } while (left > 0 && performance.now() < end);
  }
  return true;
}

/**
 * Whether the best way is another one than adapters of this sort usually have: then the
 * measurement may have been disturbed, and what depends on it is worth another look.
 */
function isUnusual(kind: Kind, paths: Paths, usual: Paths, most: number): boolean {
  const isOther = (ours: number, theirs: number): boolean =>
    Number.isFinite(ours) !== Number.isFinite(theirs);
  switch (kind) {
    case UP:
      return isOther(paths.uploadKernelRows, usual.uploadKernelRows);
    case DOWN:
      return isOther(paths.downloadKernelRows, usual.downloadKernelRows);
    case CLEAR:
      return isOther(paths.clearKernelRows, usual.clearKernelRows);
    case MOVE:
      return [[FEW, FEW], [most, most], [1, most], LARGE_FOLIOS].some(
        ([rows, pages]) =>
          movesByKernel(paths, rows!, pages!) !== movesByKernel(usual, rows!, pages!),
      );
  }
}

/** Whether another way did the same in so much less time that trying again is a waste of it. */
function isHopeless(trial: Trial, trials: readonly Trial[]): boolean {
  const { kind, pages, isRow, best } = trial;
  const isBetter = (one: Trial): boolean =>
    one.kind === kind && one.pages === pages && one.isRow === isRow && HOPELESS * one.best < best;
  return Number.isFinite(best) && trials.some(isBetter);
}

/** @returns false when the engine failed: then nothing was learned. */
async function runTrial(
  engine: CopyEngine,
  scratch: Scratch,
  list: CommandList,
  trial: Trial,
): Promise<boolean> {
  const { hostFrame, vramFrame } = scratch;
  const { kind, strategy, pages, isRow } = trial;
  list.reset();
  const rows = isRow ? 1 : pages;
  if (isRow) list.copy(vramFrame, vramFrame + pages, pages);
  for (let i = list.length; i < rows; i++) {
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
  const best = (kind: Kind, strategy: StrategyName, pages: number, isRow = false): number =>
    trials.find(
      (one) =>
        one.kind === kind &&
        one.strategy === strategy &&
        one.pages === pages &&
        one.isRow === isRow,
    )?.best ?? Number.NaN;
  const race = (
    kind: Kind,
    ways: readonly [StrategyName, StrategyName],
    few: number,
    many: number,
  ) => {
    const [a, b] = ways.map((way) => [best(kind, way, few), best(kind, way, many)] as const);
    return { few, many, a: a!, b: b! };
  };
  const { kernelShare } = usual;
  const kernelRows = (kind: Kind): number =>
    crossover(race(kind, ['runs', 'compute'], FEW, most), Number.POSITIVE_INFINITY, kernelShare);
  // Lists as such take as long either way: the faster one was disturbed less.
  const moveListUs = Math.min(
    ...(['runs', 'compute'] as const).map((way) => {
      const [fewUs, mostUs] = [best(MOVE, way, FEW), best(MOVE, way, most)];
      return Math.max(0, fewUs - (FEW * Math.max(0, mostUs - fewUs)) / (most - FEW));
    }),
  );
  const moves = (way: StrategyName): MoveCost =>
    moveCost(most, best(MOVE, way, most), best(MOVE, way, most, true), moveListUs);
  if (!trials.every((trial) => Number.isFinite(trial.best))) return usual;
  const writes = race(UP, ['writeBuffer', 'runs'], SINGLE, FEW);
  return {
    writePages: crossover(writes, MOST_WRITES + 1) - 1,
    uploadKernelRows: kernelRows(UP),
    downloadKernelRows: kernelRows(DOWN),
    clearKernelRows: kernelRows(CLEAR),
    kernelShare,
    moveListUs,
    kernelMoves: moves('compute'),
    commandMoves: moves('runs'),
  };
}
