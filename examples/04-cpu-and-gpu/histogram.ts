/*
 * Counts by time, in powers of two microseconds: a table whose bars are drawn in its cells, so that
 * it reads the same without seeing it.
 */
import { el } from '../_shell/dom.ts';
import { formatCount, formatMs } from '../_shell/numbers.ts';

export class Histogram {
  readonly element = el('table', { class: 'histogram' });
  private readonly caption: string;

  constructor(caption: string) {
    this.caption = caption;
    this.update([]);
  }

  /** @param buckets entry n counts what took less than 2^n microseconds, and not less than half */
  update(buckets: readonly number[]): void {
    const most = Math.max(...buckets, 1);
    const first = buckets.findIndex((count) => count > 0);
    const last = buckets.findLastIndex((count) => count > 0);
    const shown = first < 0 ? [] : buckets.slice(first, last + 1);
    const rows = shown.map((count, i) => {
      const bar = el('div', { class: 'bar-fill' });
      bar.style.width = `${(100 * count) / most}%`;
      const time = `< ${formatMs(2 ** (first + i) / 1000)}`;
      return el(
        'tr',
        {},
        el('th', { scope: 'row' }, time),
        el('td', { class: 'bar-cell' }, bar),
        el('td', { class: 'amount' }, formatCount(count)),
      );
    });
    if (rows.length === 0) rows.push(el('tr', {}, el('td', {}, 'No fault yet.')));
    this.element.replaceChildren(
      el('caption', { class: 'visually-hidden' }, this.caption),
      el('tbody', {}, ...rows),
    );
  }
}
