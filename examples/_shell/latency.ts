/*
 * Times of single accesses, by kind, in the order in which they were made, as a plot and a table.
 * Figures of the benchmark come from bench/, not from here.
 */
import { el } from './dom.ts';
import { formatCount, formatMs, percentile } from './numbers.ts';
import { Plot } from './plot.ts';

export class LatencyRecord {
  readonly element: HTMLElement;
  private readonly kinds: readonly string[];
  private readonly entries: { readonly kind: string; readonly ms: number }[] = [];
  private readonly table = el('table', { class: 'numbers' });
  private readonly plot = new Plot({
    title: 'Time of each access',
    x: { label: 'access', format: String },
    y: { label: '', log: 10, format: formatMs },
    marks: 'points',
  });

  /** @param kinds names for people; their order gives the series' colours */
  constructor(kinds: readonly string[]) {
    this.kinds = kinds;
    const table = el('div', { class: 'scroll' }, this.table);
    this.element = el('div', {}, this.plot.element, table);
  }

  add(kind: string, ms: number): void {
    this.entries.push({ kind, ms });
  }

  clear(): void {
    this.entries.length = 0;
  }

  /** Brings plot and table up to date. */
  draw(): void {
    const { entries, kinds } = this;
    const series = kinds.map((label) => ({
      label,
      values: entries.map(({ kind, ms }) => (kind === label ? ms : null)),
    }));
    this.plot.update({ x: entries.map((_, i) => i + 1), series });
    const names = ['Access', 'n', 'p50', 'p90', 'max'].map((name) =>
      el('th', { scope: 'col' }, name),
    );
    const rows = kinds.map((kind) => this.tableRow(kind));
    this.table.replaceChildren(el('thead', {}, el('tr', {}, ...names)), el('tbody', {}, ...rows));
  }

  private tableRow(kind: string): HTMLTableRowElement {
    const own = this.entries.filter((entry) => entry.kind === kind).map(({ ms }) => ms);
    const figures = [0.5, 0.9, 1].map((q) =>
      own.length === 0 ? '–' : formatMs(percentile(own, q)),
    );
    const cells = [formatCount(own.length), ...figures].map((text) => el('td', {}, text));
    return el('tr', {}, el('th', { scope: 'row' }, kind), ...cells);
  }
}
