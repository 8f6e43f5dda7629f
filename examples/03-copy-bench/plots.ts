/*
 * The cells of a run as plots: bandwidth of copies, time a page of migrations with its phases,
 * and the distribution of fault times. All take the cells that there are so far, so they grow
 * with the run.
 */
import type { BenchCell } from '../../bench/types.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { digits, formatBytes } from '../_shell/numbers.ts';
import { Plot } from '../_shell/plot.ts';
import type { PlotData, PlotSeries } from '../_shell/plot.ts';

const STRATEGIES = ['staging', 'commands', 'runs', 'compute', 'writeBuffer', 'cpu', 'auto'];
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
const pages = { label: 'batch', log: 2, format: String } as const;
const bandwidth = { label: 'GB/s', log: 10 } as const;

type Axis = 'folioBytes' | 'batch';

export class BenchPlots {
  private readonly byFolio = new Plot({ title: 'GB/s by folio size', x: bytes, y: bandwidth });
  private readonly byBatch = new Plot({ title: 'GB/s by batch', x: pages, y: bandwidth });
  private readonly migrate = new Plot({
    title: 'Microseconds a page by batch',
    x: pages,
    y: { label: 'µs a page', log: 10 },
  });
  private readonly fault = new Plot({
    title: 'Distribution of fault times',
    x: { label: 'µs', log: 10 },
    y: { label: '% of accesses' },
    marks: 'lines',
  });
  private cells: readonly BenchCell[] = [];

  constructor() {
    byId('by-folio').append(this.byFolio.element);
    byId('by-batch').append(this.byBatch.element);
    byId('migrate').append(this.migrate.element);
    byId('fault').append(this.fault.element);
    byId('view').addEventListener('change', () => this.drawCopies());
  }

  /** Shows these cells. */
  update(cells: readonly BenchCell[]): void {
    this.cells = cells.filter(({ verified }) => verified);
    fillSelect('batch', 'folios', this.valuesOf('batch'), String);
    fillSelect('folio', '', this.valuesOf('folioBytes'), formatBytes);
    this.drawCopies();
    this.migrate.update(migrationData(this.cells));
    this.fault.update(distribution(this.cells));
    byId('phases').replaceChildren(...phaseBars(this.cells, 'migrate'));
    byId('mm').replaceChildren(...phaseBars(this.cells, 'mm'));
  }

  private valuesOf(name: Axis): number[] {
    const values = copyCells(this.cells).map(({ params }) => Number(params[name]));
    return [...new Set(values)].toSorted((a, b) => a - b);
  }

  private drawCopies(): void {
    const direction = byIdAs('direction', HTMLSelectElement).value;
    const batch = Number(byIdAs('batch', HTMLSelectElement).value);
    const folio = Number(byIdAs('folio', HTMLSelectElement).value);
    const cells = copyCells(this.cells).filter(({ params }) => params['direction'] === direction);
    const ofBatch = cells.filter(({ params }) => params['batch'] === batch);
    const ofFolio = cells.filter(({ params }) => params['folioBytes'] === folio);
    const lines = (REFERENCES[direction] ?? []).flatMap(([id, label]) => {
      const cell = this.cells.find((one) => one.id === id);
      return cell?.gbPerSecond ? [{ label, value: cell.gbPerSecond }] : [];
    });
    byId('by-folio-title').textContent = `Against folio size, ${batch} folios a batch`;
    byId('by-batch-title').textContent = `Against batch, folios of ${formatBytes(folio)}`;
    this.byFolio.update(copyData(ofBatch, 'folioBytes', lines));
    this.byBatch.update(copyData(ofFolio, 'batch', lines));
  }
}

/** The grid of the copy suite, without the cells behind goals. */
function copyCells(cells: readonly BenchCell[]): BenchCell[] {
  return cells.filter(({ id }) => id.startsWith('copy/'));
}

function copyData(
  cells: readonly BenchCell[],
  axis: Axis,
  lines: readonly { readonly label: string; readonly value: number }[],
): PlotData {
  const at = (cell: BenchCell): number => Number(cell.params[axis]);
  const x = [...new Set(cells.map(at))].toSorted((a, b) => a - b);
  const names = STRATEGIES.filter((name) =>
    cells.some(({ params }) => params['strategy'] === name),
  );
  const series: PlotSeries[] = names.map((label) => {
    const own = cells.filter(({ params }) => params['strategy'] === label);
    const slot = STRATEGIES.indexOf(label);
    return {
      label,
      slot,
      values: x.map((one) => own.find((cell) => at(cell) === one)?.gbPerSecond ?? null),
    };
  });
  const references = lines.map(({ label, value }) => ({
    label: `${label}: ${digits(value)}`,
    values: x.map(() => value),
    isReference: true,
  }));
  return { x, series: [...series, ...references] };
}

function migrationData(cells: readonly BenchCell[]): PlotData {
  const own = cells.filter(({ suite, id }) => suite === 'migrate' && id.startsWith('migrate/'));
  const x = [...new Set(own.map(({ params }) => Number(params['batch'])))].toSorted(
    (a, b) => a - b,
  );
  const directions = [...new Set(own.map(({ params }) => String(params['direction'])))];
  const series = directions.map((direction) => ({
    label: direction === 'to-device' ? 'to the device' : 'to RAM',
    values: x.map((batch) => {
      const same = own.filter(({ params }) => params['direction'] === direction);
      return same.find(({ params }) => params['batch'] === batch)?.usPerPage ?? null;
    }),
  }));
  return { x, series };
}

/** Share of samples at or below each time, for each cell of the fault suite. */
function distribution(cells: readonly BenchCell[]): PlotData {
  const own = cells.filter(({ suite }) => suite === 'fault');
  const x = [...new Set(own.flatMap(({ samples }) => samples))].toSorted((a, b) => a - b);
  const series = own.map(({ id, params, samples }) => {
    const sorted = samples.toSorted((a, b) => a - b);
    let at = 0;
    const values = x.map((time) => {
      while (at < sorted.length && (sorted[at] ?? 0) <= time) at++;
      return (100 * at) / sorted.length;
    });
    return { label: `CPU ${String(params['access'] ?? id)}`, values };
  });
  return { x, series };
}

/** Where the time went, in the cells of a suite with the largest batch: one bar a direction. */
function phaseBars(cells: readonly BenchCell[], suite: BenchCell['suite']): HTMLElement[] {
  const own = cells.filter((cell) => cell.suite === suite && cell.phases !== undefined);
  const largest = Math.max(...own.map(({ params }) => Number(params['batch'])));
  return own.filter(({ params }) => params['batch'] === largest).map(phaseBar);
}

function phaseBar({ params, phases = {}, median, unit, usPerPage }: BenchCell): HTMLElement {
  const entries = Object.entries(phases).filter(([, us]) => us > 0);
  const whole = entries.reduce((sum, [, us]) => sum + us, 0);
  const where = /dev/i.test(String(params['direction'])) ? 'to the device' : 'to RAM';
  const time = unit === 'us' ? `${digits(usPerPage ?? 0)} µs` : `${digits(median)} ns`;
  const title = `${String(params['batch'])} pages ${where}: ${time} a page`;
  const colourOf = (i: number): string => `background: var(--series-${(i % 6) + 1})`;
  const parts = entries.map(([, us], i) =>
    el('span', { style: `${colourOf(i)}; width: ${(100 * us) / whole}%` }),
  );
  const items = entries.map(([name, us], i) =>
    el(
      'li',
      {},
      el('span', { style: colourOf(i) }),
      `${name} ${((100 * us) / whole).toFixed(0)} %`,
    ),
  );
  const bar = el('div', { class: 'share', 'aria-hidden': 'true' }, ...parts);
  return el('div', { class: 'phases' }, el('span', {}, title), bar, el('ul', {}, ...items));
}

/** Offers the values that there are, keeping the choice; the largest at first. */
function fillSelect(
  id: string,
  unit: string,
  values: readonly number[],
  format: (value: number) => string,
): void {
  const select = byIdAs(id, HTMLSelectElement);
  const known = [...select.options].map(({ value }) => value).join();
  if (known === values.join()) return;
  const chosen = select.value;
  const options = values.map((value) => el('option', { value }, `${format(value)} ${unit}`.trim()));
  select.replaceChildren(...options);
  const isKept = chosen !== '' && values.includes(Number(chosen));
  const first = id === 'folio' ? values[0] : values[Math.max(values.length - 2, 0)];
  select.value = isKept ? chosen : String(first ?? '');
}
