/*
 * The cells of runs as plots: bandwidth of copies, time a page of migrations with its phases, the
 * first page of a batch, and the distribution of fault times. All take the cells that there are so
 * far, so they grow with the run.
 */
import { MIX_NAME } from '../../bench/copy-grid.ts';
import { shortBytes } from '../../bench/format.ts';
import { isBroken } from '../../bench/types.ts';
import type { BenchCell } from '../../bench/types.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { digits, formatBytes, plural } from '../_shell/numbers.ts';
import { Plot } from '../_shell/plot.ts';
import type { Picture, PlotData, PlotSeries } from '../_shell/plot.ts';
import { readForm } from '../_shell/settings.ts';
import { phaseBars, phasePicture } from './phases.ts';
import { copyCells, copyData, distribution, firstPageData, isCpuCopy } from './plot-data.ts';
import { folioOf, migrationData, withLetter } from './plot-data.ts';
import type { Axis, DrawnRun } from './plot-data.ts';
import { VIEW_FIELDS, writeView } from './settings.ts';
import type { ViewSettings } from './settings.ts';

/** What a direction is held against: reference cells measured in the same run. */
const REFERENCES: Readonly<Record<string, readonly (readonly [id: string, label: string])[]>> = {
  'to-device': [
    ['reference/memcpy', 'JS memcpy'],
    ['reference/webgpu-contiguous-copy', 'contiguous copy'],
  ],
  'to-host': [
    ['reference/memcpy', 'JS memcpy'],
    ['reference/webgpu-contiguous-readback', 'contiguous readback'],
  ],
  'in-device': [['reference/webgpu-contiguous-copy', 'contiguous copy']],
  'in-host': [['reference/memcpy', 'JS memcpy']],
};

const bytes = { label: 'folio', log: 2, format: formatBytes } as const;
const all = { label: 'bytes of a copy', log: 2, format: shortBytes } as const;
const pages = { label: 'batch', log: 2, format: String } as const;
const bandwidth = { label: 'GB/s', log: 10 } as const;

export class BenchPlots {
  private readonly byFolio = new Plot({ title: 'GB/s by folio size', x: bytes, y: bandwidth });
  private readonly byBatch = new Plot({ title: 'GB/s by batch', x: pages, y: bandwidth });
  private readonly bySize = new Plot({ title: 'GB/s by transfer size', x: all, y: bandwidth });
  private readonly firstPage = new Plot({
    title: 'Time of a batch and of its first page, by batch',
    x: pages,
    y: { label: 'µs', log: 10 },
  });
  private readonly migrate = new Plot({
    title: 'Microseconds a page by batch',
    x: pages,
    y: { label: 'µs a page', log: 10 },
  });
  private readonly fault = new Plot({
    title: 'Distribution of fault times',
    x: { label: 'µs', log: 10 },
    y: { label: '% of accesses', range: [0, 100] },
    marks: 'lines',
  });
  private readonly form = byIdAs('view', HTMLFormElement);
  private view: ViewSettings;
  private runs: readonly DrawnRun[] = [];

  /** @param view What is looked at first. @param onView Called when that changes. */
  constructor(view: ViewSettings, onView: (view: ViewSettings) => void) {
    this.view = view;
    byId('by-folio').append(this.byFolio.element);
    byId('by-batch').append(this.byBatch.element);
    byId('by-size').append(this.bySize.element);
    byId('migrate').append(this.migrate.element);
    byId('first-page').append(this.firstPage.element);
    byId('fault').append(this.fault.element);
    this.form.addEventListener('submit', (event) => event.preventDefault());
    this.form.addEventListener('change', () => {
      this.view = readForm(this.form, VIEW_FIELDS);
      writeView(this.view);
      this.drawCopies();
      onView(this.view);
    });
  }

  /** Shows the cells of these runs; the first one's lines of reference and phases. */
  update(runs: readonly DrawnRun[]): void {
    this.runs = runs.map(({ letter, cells }) => ({
      letter: runs.length === 1 ? '' : letter,
      cells: cells.filter((cell) => !isBroken(cell)),
    }));
    const batches = this.valuesOf((cell) => String(cell.params['batch']));
    const batchName = (value: string): string => plural(Number(value), 'folio');
    fillSelect('batch', batches, batchName, String(this.view.batch ?? ''));
    fillSelect('folio', this.valuesOf(folioOf), folioName, this.view.folio);
    this.drawCopies();
    this.migrate.update(migrationData(this.runs));
    this.firstPage.update(firstPageData(this.runs));
    this.fault.update(distribution(this.runs));
    byId('phases').replaceChildren(...phaseBars(this.runs, 'migrate'));
    byId('mm').replaceChildren(...phaseBars(this.runs, 'mm'));
  }

  /** What is drawn, for a file. */
  pictures(): Picture[] {
    const direction = byIdAs('direction', HTMLSelectElement).selectedOptions[0]?.textContent ?? '';
    const titleOf = (id: string): string => byId(id).textContent ?? '';
    return [
      this.byFolio.picture(`${direction}: ${titleOf('by-folio-title')}`),
      this.byBatch.picture(`${direction}: ${titleOf('by-batch-title')}`),
      this.bySize.picture(`${direction}: ${titleOf('by-size-title')}`),
      this.migrate.picture(titleOf('migrate-title')),
      phasePicture('Migrations by phase', this.runs, 'migrate'),
      this.firstPage.picture(titleOf('first-page-title')),
      this.fault.picture(titleOf('fault-title')),
      phasePicture(titleOf('mm-title'), this.runs, 'mm'),
    ].filter((picture) => picture !== null);
  }

  /** Ascending; a mix of sizes comes last. */
  private valuesOf(name: (cell: BenchCell) => string): string[] {
    const values = new Set(this.runs.flatMap((run) => copyCells(run.cells).map(name)));
    const rank = (value: string): number => (value === MIX_NAME ? Infinity : Number(value));
    return [...values].toSorted((a, b) => rank(a) - rank(b));
  }

  private drawCopies(): void {
    const { direction, strategy, batch, folio, counted } = readForm(this.form, VIEW_FIELDS);
    const factor = counted === 'twice' ? 2 : 1;
    const drawn = this.runs.map(({ letter, cells }) => ({
      letter,
      cells: copyCells(cells).filter(
        (cell) =>
          isCpuCopy(cell) ||
          (cell.params['direction'] === direction &&
            (strategy === '' ||
              [strategy, undefined].includes(cell.params['strategy'] as typeof strategy))),
      ),
    }));
    const where = (isMeant: (cell: BenchCell) => boolean): DrawnRun[] =>
      drawn.map(({ letter, cells }) => ({ letter, cells: cells.filter(isMeant) }));
    const twice = factor === 2 ? ', bytes read and written' : '';
    byId('by-folio-title').textContent =
      `Against folio size, ${plural(batch ?? 0, 'folio')} a batch${twice}`;
    byId('by-batch-title').textContent = `Against batch, folios of ${folioName(folio)}${twice}`;
    byId('by-size-title').textContent = `Against bytes of a copy, the fastest folio${twice}`;
    // A mix has no place on an axis of sizes.
    const isOfBatch = (cell: BenchCell): boolean =>
      cell.params['batch'] === batch && folioOf(cell) !== MIX_NAME;
    const first = this.runs[0] ?? { letter: '', cells: [] };
    const lines = referenceLines(first, direction, factor);
    const dataOf = (runs: readonly DrawnRun[], axis: Axis): PlotData =>
      copyData(runs, { direction, axis, factor });
    for (const [plot, data] of [
      [this.byFolio, dataOf(where(isOfBatch), 'folioBytes')],
      [
        this.byBatch,
        dataOf(
          where((cell) => folioOf(cell) === folio),
          'batch',
        ),
      ],
      [this.bySize, dataOf(drawn, 'bytes')],
    ] as const) {
      const references = lines.map(({ label, value }): PlotSeries => {
        return { label, values: data.x.map(() => value), isReference: true };
      });
      plot.update({ x: data.x, series: [...data.series, ...references] });
    }
  }
}

function referenceLines(
  { letter, cells }: DrawnRun,
  direction: string,
  factor: number,
): { readonly label: string; readonly value: number }[] {
  return (REFERENCES[direction] ?? []).flatMap(([id, label]) => {
    const speed = cells.find((one) => one.id === id)?.gbPerSecond;
    if (speed === undefined || speed === null) return [];
    const value = speed * factor;
    return [{ label: `${withLetter(label, letter)}: ${digits(value)}`, value }];
  });
}

/** "4 KiB", or what a mix is of. */
function folioName(value: string): string {
  return value === MIX_NAME ? '4 KiB, 64 KiB and 2 MiB' : formatBytes(Number(value));
}

/**
 * Offers the values that there are, keeping the choice; without one, the largest batch but one,
 * also when larger ones come in during a run.
 */
function fillSelect(
  id: string,
  values: readonly string[],
  nameOf: (value: string) => string,
  wanted: string,
): void {
  const select = byIdAs(id, HTMLSelectElement);
  const known = [...select.options].map(({ value }) => value).join();
  if (known === values.join()) return;
  select.replaceChildren(...values.map((value) => el('option', { value }, nameOf(value))));
  const first = id === 'folio' ? values[0] : values[Math.max(values.length - 2, 0)];
  select.value = values.includes(wanted) ? wanted : (first ?? '');
}
