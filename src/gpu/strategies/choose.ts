/*
 * Which strategy moves a list. A named strategy is taken for every direction; `auto` decides by
 * direction.
 *
 * The rules of `auto` are fixed for now, after measurements on a software adapter and published
 * ones for GPUs:
 *  - up to WRITE_PAGES pages go up by `writeBuffer`: a small flight pays more for its map round
 *    trip than for the copy;
 *  - more go up and down by `runs`, which is `commands` with fewer commands and never worse;
 *  - on a GPU, lists of more than KERNEL_ROWS rows go by `compute`, because there each copy command
 *    costs microseconds, and a kernel costs the same for any number of pages;
 *  - inside VRAM a GPU always uses `compute`: `runs` would copy everything twice.
 */
import type { CommandList } from '../../engine/command-list.ts';
import type { StrategyName } from '../../engine/copy-engine.ts';
import type { ListShape } from '../list-run.ts';
import {
  ROUTE_CLEAR,
  ROUTE_DOWNLOAD,
  ROUTE_HOST,
  ROUTE_MOVE,
  ROUTE_UPLOAD,
  routeOf,
} from '../list-run.ts';
import { commandsStrategy } from './commands.ts';
import { computeStrategy } from './compute.ts';
import { cpuStrategy } from './cpu.ts';
import { runsStrategy } from './runs.ts';
import { stagingStrategy } from './staging.ts';
import type { Strategy, StrategyChoice } from './strategy.ts';
import { writeBufferStrategy } from './write-buffer.ts';

/** Largest upload, in pages, that goes by `writeBuffer`. */
const WRITE_PAGES = 8;
/** Rows from which a GPU's kernels beat its copy commands. */
const KERNEL_ROWS = 64;

type FixedName = Exclude<StrategyName, 'auto'>;

const FIXED: Readonly<Record<FixedName, Strategy>> = {
  commands: commandsStrategy,
  staging: stagingStrategy,
  runs: runsStrategy,
  compute: computeStrategy,
  writeBuffer: writeBufferStrategy,
  cpu: cpuStrategy,
};

/** The strategies that can be named, besides `auto`. */
export const STRATEGY_NAMES: readonly StrategyName[] = Object.keys(FIXED) as FixedName[];

const FIXED_CHOICES = new Map<StrategyName, StrategyChoice>(
  Object.values(FIXED).map((all) => [
    all.name,
    { upload: all, download: all, move: all, clear: all },
  ]),
);

/**
 * The strategy for each direction of a list.
 *
 * @param shape what the list consists of
 * @param isSoftware whether the adapter computes on the CPU
 */
export function chooseStrategy(
  name: StrategyName,
  shape: ListShape,
  isSoftware: boolean,
): StrategyChoice {
  const fixed = FIXED_CHOICES.get(name);
  if (fixed !== undefined) return fixed;
  const { pages, rows } = shape;
  return autoChoice(
    pages[ROUTE_UPLOAD]! <= WRITE_PAGES
      ? writeBufferStrategy
      : manyRows(rows[ROUTE_UPLOAD]!, isSoftware),
    manyRows(rows[ROUTE_DOWNLOAD]!, isSoftware),
    isSoftware ? runsStrategy : computeStrategy,
    manyRows(rows[ROUTE_CLEAR]!, isSoftware),
  );
}

function manyRows(rows: number, isSoftware: boolean): Strategy {
  return !isSoftware && rows > KERNEL_ROWS ? computeStrategy : runsStrategy;
}

/** The choices that `auto` has made so far: a new object for each list would be garbage. */
const autoChoices: StrategyChoice[] = [];

function autoChoice(
  upload: Strategy,
  download: Strategy,
  move: Strategy,
  clear: Strategy,
): StrategyChoice {
  for (let i = 0; i < autoChoices.length; i++) {
    const made = autoChoices[i]!;
    const isSame = made.upload === upload && made.download === download;
    if (isSame && made.move === move && made.clear === clear) return made;
  }
  const choice = { upload, download, move, clear };
  autoChoices.push(choice);
  return choice;
}

/** The first row that a choice has no way for, or -1. */
export function firstRefusedRow(
  list: CommandList,
  choice: StrategyChoice,
  hostFrames: number,
): number {
  const { upload, download, move, clear } = choice;
  const ramOnly = upload === cpuStrategy;
  if (!ramOnly && upload.upload && download.download && move.move && clear.clear) return -1;
  for (let row = 0; row < list.length; row++) {
    const route = routeOf(list, row, hostFrames);
    const isRefused =
      (ramOnly && route !== ROUTE_HOST) ||
      (route === ROUTE_UPLOAD && upload.upload === undefined) ||
      (route === ROUTE_DOWNLOAD && download.download === undefined) ||
      (route === ROUTE_MOVE && move.move === undefined) ||
      (route === ROUTE_CLEAR && clear.clear === undefined);
    if (isRefused) return row;
  }
  return -1;
}
