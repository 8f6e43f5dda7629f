/**
 * Runs that mirror published tables, with the published figures. A figure of another machine is
 * no target: it is shown beside ours so that shapes can be compared, where a path begins to win and
 * how much a larger folio brings.
 */
import { formatNumber, shortBytes } from './format.ts';
import type { Table } from './tables.ts';
import { PRESET_NAMES } from './types.ts';
import type { BenchCell, PresetName, PresetRow, PresetTable } from './types.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** A published table; null where nothing was published for a column. */
export interface Published {
  readonly title: string;
  /** Author, document, date. */
  readonly source: string;
  readonly unit: 'GB/s' | 'us';
  readonly columns: readonly string[];
  readonly rows: readonly PresetRow[];
  /** What to know before comparing. */
  readonly notes: readonly string[];
}

/** Folio sizes of the DMA offload series. */
export const OFFLOAD_FOLIOS = [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 2 * MIB];
/** Channels of the DMA offload series. */
export const OFFLOAD_CHANNELS = [1, 4, 8, 16];
/** Sizes of benchmark_thp_migration. */
export const THP_SIZES = [KIB / 2, KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB, 256 * KIB].map(
  (size) => size * KIB,
);
/** Directions of the bandwidth matrix and their names there. */
export const MATRIX_DIRECTIONS = ['to-device', 'to-host', 'in-device'] as const;

function row(label: string, ...values: (number | null)[]): PresetRow {
  return { label, values };
}

const DMA_OFFLOAD: Published = {
  title: 'Batch copies with DMA offload: GB/s by folio size and channels',
  source:
    'Shivank Garg, batch copies and DMA offload, RFC V3, 20250923174752.35701-1, September 2025: ' +
    'move_pages() of 1 GiB between two nodes, two EPYC Zen 3 with PTDMA',
  unit: 'GB/s',
  columns: OFFLOAD_FOLIOS.map(shortBytes),
  rows: [
    row('vanilla, serial', 3.73, 5.53, 5.9, 6.5, 6.92, 10.67),
    row('CPU threads, 1', 3.84, 5.23, 6.01, 7.16, 7.1, 10.94),
    row('CPU threads, 4', 4.72, 8.41, 10.08, 10.45, 12.38, 31.41),
    row('CPU threads, 16', 4.77, 8.95, 10.36, 11.58, 13.0, 35.89),
    row('DMA, 1 channel', 2.75, 2.86, 3.28, 5.03, 4.78, 12.5),
    row('DMA, 4 channels', 4.01, 6.36, 7.71, 10.27, 12.35, 26.84),
    row('DMA, 8 channels', 4.46, 7.74, 9.72, 12.12, 13.29, 45.27),
    row('DMA, 16 channels', 4.61, 9.08, 11.14, 13.69, 15.44, 63.69),
  ],
  notes: [
    'theirs are whole move_pages() calls; ours are copies alone, whole migrations are in migrate',
    'WebGPU has one queue: a channel here is a list in flight',
  ],
};

const THP_MIGRATION: Published = {
  title: 'benchmark_thp_migration: GB/s with and without large folios',
  source:
    'Balbir Singh, cover letter of device-private THP, v3, dri-devel 2025-August/518965: ' +
    'a virtual x86 machine with lib/test_hmm',
  unit: 'GB/s',
  columns: THP_SIZES.map(shortBytes),
  rows: [],
  notes: [
    'published without a table: large folios bring 350 % in throughput and 500 % in latency',
    'as there: one warm-up, then at least five timed migrations each way; here the median',
  ],
};

const NVBANDWIDTH: Published = {
  title: 'Bandwidth matrix: copy commands (CE) and kernels (SM)',
  source: 'NVIDIA nvbandwidth, README and issue 48: 64 MiB, moved once',
  unit: 'GB/s',
  columns: ['host to device', 'device to host', 'device to device'],
  rows: [row('device local, of 2.2 TB/s traffic', null, null, 1100)],
  notes: ['theirs excludes the submission, ours is awaited; copies inside VRAM are counted once'],
};

const XE_PHASES: Published = {
  title: 'Phases of a migration of 2 MiB to the device: us',
  source: 'Dugast, THP in drm_pagemap, dri-devel msg582528: xe SVM, a GPU fault of 2 MiB',
  unit: 'us',
  columns: ['4 KiB pages', '2 MiB folio'],
  rows: [
    row('GPU fault, all of it', 966, 132),
    row('migrate', 942, 128),
    row('copy by the device', 223, 106),
    row('get_pages', 9, 1),
    row('bind', 10, 2),
    row('migrate, less copy', 719, 22),
  ],
  notes: ['ours begins where the driver begins to migrate: no fault is taken and nothing is bound'],
};

/** The published tables by name. */
export const PRESETS: Readonly<Record<PresetName, Published>> = {
  'dma-offload': DMA_OFFLOAD,
  'thp-migration': THP_MIGRATION,
  nvbandwidth: NVBANDWIDTH,
  'xe-phases': XE_PHASES,
};

/** Labels of our rows of `dma-offload`; 0 channels is the CPU's copy. */
export function offloadPath(channels: number): string {
  if (channels === 0) return 'one CPU thread, RAM to RAM';
  return `auto, ${channels} ${channels === 1 ? 'list' : 'lists'} in flight`;
}

const PHASES = ['bookkeeping', 'hostCopy', 'encode', 'submit', 'wait'] as const;

function byColumn(
  cells: readonly BenchCell[],
  columns: readonly string[],
  value: (cell: BenchCell) => number | null,
): (number | null)[] {
  return columns.map((column) => {
    const cell = cells.find(({ params }) => params['column'] === column);
    return cell?.verified === true ? value(cell) : null;
  });
}

/** Our rows: a row for each `path` of the preset's cells, a column for each `column`. */
function measuredRows(published: Published, cells: readonly BenchCell[]): PresetRow[] {
  const { columns, unit } = published;
  const paths = [...new Set(cells.map(({ params }) => String(params['path'])))];
  return paths.map((label) => {
    const own = cells.filter(({ params }) => params['path'] === label);
    const value = (cell: BenchCell): number | null =>
      unit === 'us' ? cell.median : cell.gbPerSecond;
    return { label, values: byColumn(own, columns, value) };
  });
}

function phaseRows(published: Published, cells: readonly BenchCell[]): PresetRow[] {
  return PHASES.map((phase) => ({
    label: `of that: ${phase}`,
    values: byColumn(cells, published.columns, (cell) => cell.phases?.[phase] ?? null),
  }));
}

/** What large folios bring, in percent, each way. */
export function gainRows(rows: readonly PresetRow[]): PresetRow[] {
  const valuesOf = (label: string): readonly (number | null)[] | undefined =>
    rows.find((one) => one.label === label)?.values;
  return ['to the device', 'home'].flatMap((way) => {
    const large = valuesOf(`THP ${way}`);
    const small = valuesOf(`4 KiB pages ${way}`);
    if (large === undefined || small === undefined) return [];
    const values = large.map((value, i) => {
      const other = small[i] ?? null;
      return value === null || other === null ? null : Math.round((value / other - 1) * 100);
    });
    return [{ label: `gain ${way}, %`, values }];
  });
}

/** The table of a preset: theirs, and ours out of the cells of a run. */
export function presetTable(preset: PresetName, cells: readonly BenchCell[]): PresetTable {
  const published = PRESETS[preset];
  const own = cells.filter(({ id }) => id.startsWith(`preset/${preset}/`));
  const rows = measuredRows(published, own);
  if (preset === 'xe-phases') rows.push(...phaseRows(published, own));
  if (preset === 'thp-migration') rows.push(...gainRows(rows));
  const { title, source, unit, columns, notes } = published;
  return { preset, title, source, unit, columns, published: published.rows, measured: rows, notes };
}

/** A figure of a row, for people: whole percents, three digits else; "-" for none. */
export function presetValue({ label }: PresetRow, value: number | null): string {
  if (value === null) return '-';
  return label.endsWith('%') ? value.toFixed(0) : formatNumber(value);
}

/** A preset's table for people: published rows first, then ours. */
export function presetTextTable(table: PresetTable): Table {
  const lines = (who: string, rows: readonly PresetRow[]): string[][] =>
    rows.map((one) => [who, one.label, ...one.values.map((value) => presetValue(one, value))]);
  const heading = [table.title, `  source: ${table.source}`, ...table.notes.map((n) => `  ${n}`)];
  return {
    title: heading.join('\n'),
    columns: ['', table.unit, ...table.columns],
    rows: [...lines('published', table.published), ...lines('here', table.measured)],
  };
}

/** True for the name of a preset. */
export function isPresetName(name: string | null | undefined): name is PresetName {
  return PRESET_NAMES.some((one) => one === name);
}
