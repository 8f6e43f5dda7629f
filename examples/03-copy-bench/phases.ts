/*
 * Where the time of migrations went, as stacked bars.
 */
import type { BenchCell } from '../../bench/types.ts';
import { el } from '../_shell/dom.ts';
import { digits } from '../_shell/numbers.ts';
import type { DrawnRun } from './plot-data.ts';

/** Of each run's cells of a suite with the largest batch: one bar a direction. */
export function phaseBars(runs: readonly DrawnRun[], suite: BenchCell['suite']): HTMLElement[] {
  return runs.flatMap(({ letter, cells }) => {
    const own = cells.filter((cell) => cell.id.startsWith(`${suite}/`) && cell.phases);
    const largest = Math.max(...own.map(({ params }) => Number(params['batch'])));
    return own
      .filter(({ params }) => params['batch'] === largest)
      .map((cell) => phaseBar(cell, letter));
  });
}

function phaseBar(cell: BenchCell, letter: string): HTMLElement {
  const { params, phases = {}, median, unit, usPerPage } = cell;
  const entries = Object.entries(phases).filter(([, us]) => us > 0);
  const whole = entries.reduce((sum, [, us]) => sum + us, 0);
  const where = /dev/i.test(String(params['direction'])) ? 'to the device' : 'to RAM';
  const time = unit === 'us' ? `${digits(usPerPage ?? 0)} µs` : `${digits(median)} ns`;
  const run = letter === '' ? '' : `${letter}: `;
  const title = `${run}${String(params['batch'])} pages ${where}: ${time} a page`;
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
