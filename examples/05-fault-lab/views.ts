/*
 * Both sides' figures: costs as stacked bars, counters, device memory in use over time.
 */
import type { FaultCounts, TimeSplit } from '../../src/index.ts';
import { byId, el } from '../_shell/dom.ts';
import { COUNT_WORDS, TIME_WORDS } from '../_shell/fault-words.ts';
import { hatchedBackground } from '../_shell/hatch.ts';
import { formatBytes, formatCount, formatMs } from '../_shell/numbers.ts';
import { Plot } from '../_shell/plot.ts';
import type { PlotData } from '../_shell/plot.ts';
import type { LabState } from './lab-run.ts';

/** A side's state, with the name that its series and columns have. */
export interface ShownSide {
  readonly name: string;
  readonly state: LabState | null;
}

const PAGES_PER_MIB = 256;
const TERMS = Object.keys(TIME_WORDS) as (keyof TimeSplit)[];
const COUNTS = Object.keys(COUNT_WORDS) as (keyof FaultCounts)[];

export class LabViews {
  private readonly residency = new Plot({
    title: 'Device memory in use over virtual time',
    x: { label: 'ms of virtual time' },
    y: { label: '' },
    marks: 'lines',
  });

  constructor() {
    byId('residency').append(this.residency.element);
  }

  /** Shows costs and counters. */
  update(sides: readonly ShownSide[]): void {
    byId('costs').replaceChildren(...costBars(sides), costTable(sides));
    byId('counters').replaceChildren(counterTable(sides));
  }

  /** Shows device memory over time; costs more, so less often. */
  plot(sides: readonly ShownSide[]): void {
    this.residency.update(residencyData(sides));
  }
}

/** Curves with times of their own, on one axis. */
export function residencyData(sides: readonly ShownSide[]): PlotData {
  const all = sides.flatMap(({ state }) => state?.residency ?? []);
  const x = [...new Set(all.map(({ us }) => us / 1000))].toSorted((a, b) => a - b);
  const series = sides.map(({ name, state }) => {
    const own = new Map(
      (state?.residency ?? []).map(({ us, pages }) => [us / 1000, pages / PAGES_PER_MIB]),
    );
    return { label: name, values: x.map((ms) => own.get(ms) ?? null) };
  });
  const [first] = sides.flatMap(({ state }) => state ?? []);
  if (first === undefined) return { x, series };
  const size = first.devicePages / PAGES_PER_MIB;
  const whole = { label: 'device size', values: x.map(() => size), isReference: true };
  return { x, series: [...series, whole] };
}

function costBars(sides: readonly ShownSide[]): HTMLElement[] {
  const longest = Math.max(...sides.map(({ state }) => state?.us ?? 0), 1e-9);
  return sides.map(({ name, state }) => {
    const parts = TERMS.flatMap((term, i) => {
      const us = state?.times[term] ?? 0;
      if (us === 0) return [];
      return [el('span', { style: `${fillOf(i)}; width: ${(100 * us) / longest}%` })];
    });
    const bar = el('div', { class: 'share', 'aria-hidden': 'true' }, ...parts);
    const time = formatMs((state?.us ?? 0) / 1000);
    return el('div', { class: 'cost-bar' }, el('span', {}, `${name}: ${time}`), bar);
  });
}

/** Nine terms and seven colours: with the stripes, all are different. */
function fillOf(i: number): string {
  return `background: ${hatchedBackground(i, `var(--series-${(i % 7) + 1})`)}`;
}

function costTable(sides: readonly ShownSide[]): HTMLTableElement {
  const names = ['Virtual time went to', ...sides.map(({ name }) => name)];
  const rows = TERMS.map((term, i) => {
    const swatch = el('span', { class: 'swatch', style: fillOf(i), 'aria-hidden': 'true' });
    const head = el('th', { scope: 'row' }, swatch, ` ${TIME_WORDS[term]}`);
    const cells = sides.map(({ state }) => {
      const us = state?.times[term] ?? 0;
      return el('td', {}, us === 0 ? '–' : formatMs(us / 1000));
    });
    return el('tr', { 'data-term': term }, head, ...cells);
  });
  return table(names, rows);
}

function counterTable(sides: readonly ShownSide[]): HTMLTableElement {
  const names = ['Counter', ...sides.map(({ name }) => name)];
  const shown = COUNTS.filter((count) => sides.some(({ state }) => state?.counts[count]));
  const rows = shown.map((count) => {
    const cells = sides.map(({ state }) => {
      const value = state?.counts[count] ?? 0;
      return el('td', {}, count.startsWith('bytes') ? formatBytes(value) : formatCount(value));
    });
    const head = el('th', { scope: 'row', title: count }, COUNT_WORDS[count]);
    return el('tr', { 'data-count': count }, head, ...cells);
  });
  return table(names, rows);
}

function table(names: readonly string[], rows: readonly Node[]): HTMLTableElement {
  const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
  return el('table', { class: 'numbers' }, el('thead', {}, head), el('tbody', {}, ...rows));
}
