/*
 * Which strategy moves a list. A named strategy is taken for every direction; `auto` decides by
 * direction and size, where the ways cross over on this adapter (paths.ts):
 *  - a few pages go up by `writeBuffer`: a small flight pays more for its map round trip than for
 *    the copy;
 *  - more go up and down by `runs`, which is `commands` with fewer commands and never worse;
 *  - from where a copy command a page costs more than a kernel, lists go by `compute`;
 *  - inside VRAM the costs of both ways by row and page decide: a large folio is one command, and
 *    many pages for a kernel.
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
import { movesByKernel } from './paths.ts';
import type { Paths } from './paths.ts';
import { runsStrategy } from './runs.ts';
import { stagingStrategy } from './staging.ts';
import type { Strategy, StrategyChoice } from './strategy.ts';
import { writeBufferStrategy } from './write-buffer.ts';

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

/** Whether a caller without types named a strategy, or `auto`. */
export function isStrategy(name: StrategyName): boolean {
  return name === 'auto' || FIXED_CHOICES.has(name);
}

/**
 * The strategy for each direction of a list.
 *
 * @param shape what the list consists of
 * @param paths where the ways cross over on this adapter
 */
export function chooseStrategy(name: StrategyName, shape: ListShape, paths: Paths): StrategyChoice {
  const fixed = FIXED_CHOICES.get(name);
  if (fixed !== undefined) return fixed;
  const { pages, rows } = shape;
  const byRows = (route: number, kernelRows: number): Strategy =>
    rows[route]! >= kernelRows ? computeStrategy : runsStrategy;
  const byKernel = movesByKernel(paths, rows[ROUTE_MOVE]!, pages[ROUTE_MOVE]!);
  const upload = byRows(ROUTE_UPLOAD, paths.uploadKernelRows);
  return {
    upload: pages[ROUTE_UPLOAD]! <= paths.writePages ? writeBufferStrategy : upload,
    download: byRows(ROUTE_DOWNLOAD, paths.downloadKernelRows),
    move: byKernel ? computeStrategy : runsStrategy,
    clear: byRows(ROUTE_CLEAR, paths.clearKernelRows),
  };
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
