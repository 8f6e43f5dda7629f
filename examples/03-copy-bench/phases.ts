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
    return own
      .filter(({ params }) => params['batch'] === largest)
      .map((cell) => phaseBar(cell, letter));
  });
}

function phaseBar(cell: BenchCell, letter: string): HTMLElement {
  const { params, phases = {}, median, unit, usPerPage } = cell;
  const rank = (name: string): number => PHASE_ORDER.indexOf(name);
  const given = Object.entries(phases).filter(([, us]) => us > 0);
  // Coarser splits have names of their own, in an order of their own.
  const isFine = given.every(([name]) => rank(name) >= 0);
  const entries = isFine ? given.toSorted(([a], [b]) => rank(a) - rank(b)) : given;
  const whole = entries.reduce((sum, [, us]) => sum + us, 0);
  const where = /dev/i.test(String(params['direction'])) ? 'to the device' : 'to RAM';
  const time = unit === 'us' ? `${digits(usPerPage ?? 0)} µs` : `${digits(median)} ns`;
  const run = letter === '' ? '' : `${letter}: `;
  const title = `${run}${String(params['batch'])} pages ${where}: ${time} a page`;
  const colourOf = (i: number): string =>
    `background: var(--${i < COLOURS ? `series-${i + 1}` : 'muted'})`;
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
