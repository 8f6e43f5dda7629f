/*
 * Where the time of migrations went, as stacked bars.
 */
import type { BenchCell } from '../../bench/types.ts';
import { PHASES, PHASE_ORDER } from '../../bench/phase-names.ts';
import { el } from '../_shell/dom.ts';
import { digits } from '../_shell/numbers.ts';
import type { DrawnRun } from './plot-data.ts';

/** Colours of series; what comes after them is grey. */
const COLOURS = 7;

/**
 * Of each run's cells of a suite with the largest batch: one bar a direction. Migrations that were
 * driven by hand have the finest split.
 */
export function phaseBars(runs: readonly DrawnRun[], suite: BenchCell['suite']): HTMLElement[] {
  return runs.flatMap(({ letter, cells }) => {
    const starting = (start: string): BenchCell[] =>
      cells.filter((cell) => cell.id.startsWith(start) && cell.phases);
    const fine = suite === 'migrate' ? starting(PHASES) : [];
    const own = fine.length > 0 ? fine : starting(`${suite}/`);
    const largest = Math.max(...own.map(({ params }) => Number(params['batch'])));
    const shown = own.filter(({ params }) => params['batch'] === largest);
    const order = orderOf(shown);
    return shown.map((cell) => phaseBar(cell, letter, order));
  });
}

/**
 * The phases of bars in their order, the same in all of them. A bar has copies into RAM or out of
 * it, which share a place.
 */
function orderOf(cells: readonly BenchCell[]): string[] {
  const isThere = ([, us]: [string, number]): boolean => us > 0;
  const there = cells.flatMap(({ phases = {} }) => Object.entries(phases).filter(isThere));
  const names = [...new Set(there.map(([name]) => name))];
  const isFine = names.every((name) => PHASE_ORDER.includes(name));
  // Coarser splits have names of their own, in an order of their own.
  const order = isFine ? PHASE_ORDER.filter((name) => names.includes(name)) : names;
  return order.map(placeOf).filter((place, at, all) => all.indexOf(place) === at);
}

function placeOf(phase: string): string {
  return phase === 'copy-out' ? 'copy-in' : phase;
}

function phaseBar(cell: BenchCell, letter: string, order: readonly string[]): HTMLElement {
  const { params, phases = {}, median, unit, usPerPage } = cell;
  const rank = (name: string): number => order.indexOf(placeOf(name));
  const entries = Object.entries(phases)
    .filter(([, us]) => us > 0)
    .toSorted(([a], [b]) => rank(a) - rank(b));
  const whole = entries.reduce((sum, [, us]) => sum + us, 0);
  const where = /dev/i.test(String(params['direction'])) ? 'to the device' : 'to RAM';
  const time = unit === 'us' ? `${digits(usPerPage ?? 0)} µs` : `${digits(median)} ns`;
  const run = letter === '' ? '' : `${letter}: `;
  const title = `${run}${String(params['batch'])} pages ${where}: ${time} a page`;
  const colourOf = (name: string): string => {
    const place = rank(name);
    return `background: var(--${place < COLOURS ? `series-${place + 1}` : 'line-strong'})`;
  };
  const parts = entries.map(([name, us]) =>
    el('span', { style: `${colourOf(name)}; width: ${(100 * us) / whole}%` }),
  );
  const items = entries.map(([name, us]) =>
    el(
      'li',
      {},
      el('span', { style: colourOf(name) }),
      `${name} ${((100 * us) / whole).toFixed(0)} %`,
    ),
  );
  const bar = el('div', { class: 'share', 'aria-hidden': 'true' }, ...parts);
  return el('div', { class: 'phases' }, el('span', {}, title), bar, el('ul', {}, ...items));
}
