/**
 * Which copies the sweep of the copy suite makes, where a run asks for some of them only.
 */
import type { StrategyName } from '../src/index.ts';
import { shortBytes } from './format.ts';
import type { CopyPlan } from './plan.ts';
import type { BenchOptions } from './types.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Directions that a run may ask for. */
export const DIRECTION_NAMES = ['to-device', 'to-host', 'in-device', 'in-host'] as const;

/** Strategies that a run may ask for. */
export const STRATEGY_NAMES = [
  'auto',
  'commands',
  'staging',
  'runs',
  'compute',
  'writeBuffer',
  'cpu',
] as const satisfies readonly StrategyName[];

/** Batches of folios of several sizes, asked for beside folios of one size. */
export const MIX_NAME = 'mix';

/** Sizes of folios that a run may ask for, as "4K", and a mix of them in each batch. */
export const FOLIO_NAMES: readonly string[] = [
  ...[4, 16, 64, 256, 1024, 2048].map((size) => shortBytes(size * KIB)),
  MIX_NAME,
];

/** Folios in a batch that a run may ask for. */
export const BATCH_NAMES: readonly string[] = [
  1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096,
].map(String);

/** Bytes of a folio named "64K"; a mix has none. */
export function folioBytesOf(name: string): number {
  return Number.parseInt(name, 10) * (name.endsWith('M') ? MIB : KIB);
}

/** Most bytes of a cell that was asked for by its size. */
const MOST_ASKED_BYTES = 256 * MIB;

/** The plan of the sweep with what the options ask for in place of the usual. */
export function narrowCopies(copy: CopyPlan, options: BenchOptions): CopyPlan {
  const { directions = [], strategies = [], folios = [], batches = [] } = options;
  const sizes = folios.filter((name) => name !== MIX_NAME).map(folioBytesOf);
  const isSized = folios.length > 0 || batches.length > 0;
  return {
    ...copy,
    ...(folios.length > 0 ? { folios: ascending(sizes), isMixed: folios.includes(MIX_NAME) } : {}),
    ...(batches.length > 0 ? { batches: ascending(batches.map(Number)) } : {}),
    ...(isSized ? { maxCellBytes: MOST_ASKED_BYTES } : {}),
    ...(directions.length > 0 ? { directions } : {}),
    ...(strategies.length > 0 ? { strategies } : {}),
  };
}

function ascending(values: readonly number[]): number[] {
  return [...new Set(values)].toSorted((a, b) => a - b);
}
