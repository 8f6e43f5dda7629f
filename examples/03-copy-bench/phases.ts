/*
 * Where the time of migrations went, as stacked bars.
 */
import type { BenchCell } from '../../bench/types.ts';
import { PHASES, PHASE_ORDER, WAIT } from '../../bench/phase-names.ts';
import { splitWait, waitNotes } from '../../bench/phase-split.ts';
import { el } from '../_shell/dom.ts';
import { digits } from '../_shell/numbers.ts';
import type { Picture } from '../_shell/plot.ts';
import { fineCanvas } from '../_shell/png.ts';
import { colour } from '../_shell/theme.ts';
import type { DrawnRun } from './plot-data.ts';

/** Colours by place: those of series, and greys for what comes after them. */
const INKS = [
  ...Array.from({ length: 7 }, (_, at) => `--series-${at + 1}`),
  '--line-strong',
  '--space-ahead',
];

/** A bar: what it is of, and its parts with their shares of the whole and their colours. */
interface Bar {
  readonly title: string;
  readonly parts: readonly {
    readonly text: string;
    readonly share: number;
    readonly ink: string;
  }[];
}

/**
 * Of each run's cells of a suite with the largest batch: one bar a direction. Migrations that were
 * driven by hand have the finest split.
 */
export function phaseBars(runs: readonly DrawnRun[], suite: BenchCell['suite']): HTMLElement[] {
  const groups = cellsOf(runs, suite);
  const notes = groups.flatMap(({ letter, cells }) =>
    waitNotes(cells).map((note) => (letter === '' ? note : `${letter}: ${note}`)),
  );
  const said = notes.map((note) => el('p', { class: 'muted phase-note' }, note));
  return [...barsOf(groups).map(elementOf), ...said];
}

/** The cells of each run that have a bar. */
function cellsOf(runs: readonly DrawnRun[], suite: BenchCell['suite']): DrawnRun[] {
  return runs.map(({ letter, cells }) => {
    const starting = (start: string): BenchCell[] =>
      cells.filter((cell) => cell.id.startsWith(start) && cell.phases);
    const fine = suite === 'migrate' ? starting(PHASES) : [];
    const own = fine.length > 0 ? fine : starting(`${suite}/`);
    const largest = Math.max(...own.map(({ params }) => Number(params['batch'])));
    return { letter, cells: own.filter(({ params }) => params['batch'] === largest) };
  });
}

function barsOf(groups: readonly DrawnRun[]): Bar[] {
  return groups.flatMap(({ letter, cells }) => {
    const shown = cells.map((cell) => ({ ...cell, phases: splitWait(cell).phases }));
    const order = orderOf(shown);
    return shown.map((cell) => barOf(cell, letter, order));
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
  if (phase === WAIT) return 'GPU';
  return phase === 'copy-out' ? 'copy-in' : phase;
}

function barOf(cell: BenchCell, letter: string, order: readonly string[]): Bar {
  const { params, phases = {}, median, unit, usPerPage } = cell;
  const rank = (name: string): number => order.indexOf(placeOf(name));
  const entries = Object.entries(phases)
    .filter(([, us]) => us > 0)
    .toSorted(([a], [b]) => rank(a) - rank(b));
  const whole = entries.reduce((sum, [, us]) => sum + us, 0);
  const where = /dev/i.test(String(params['direction'])) ? 'to the device' : 'to RAM';
  const time = unit === 'us' ? `${digits(usPerPage ?? 0)} µs` : `${digits(median)} ns`;
  const run = letter === '' ? '' : `${letter}: `;
  const parts = entries.map(([name, us]) => {
    const place = rank(name);
    const ink = INKS[place] ?? INKS.at(-1)!;
    return { text: `${name} ${((100 * us) / whole).toFixed(0)} %`, share: us / whole, ink };
  });
  return { title: `${run}${String(params['batch'])} pages ${where}: ${time} a page`, parts };
}

function elementOf({ title, parts }: Bar): HTMLElement {
  const back = (ink: string): string => `background: var(${ink})`;
  const spans = parts.map(({ share, ink }) =>
    el('span', { style: `${back(ink)}; width: ${100 * share}%` }),
  );
  const items = parts.map(({ text, ink }) => el('li', {}, el('span', { style: back(ink) }), text));
  const bar = el('div', { class: 'share', 'aria-hidden': 'true' }, ...spans);
  return el('div', { class: 'phases' }, el('span', {}, title), bar, el('ul', {}, ...items));
}

const WIDTH = 560;
const LINE = 22;
const BAR = 14;

/** The bars as a picture, each with its legend; null without one. */
export function phasePicture(
  title: string,
  runs: readonly DrawnRun[],
  suite: BenchCell['suite'],
): Picture | null {
  const bars = barsOf(cellsOf(runs, suite));
  if (bars.length === 0) return null;
  // A legend has three lines at most: nine phases of a dozen letters each.
  const height = BAR + 4 * LINE + 8;
  const context = fineCanvas(WIDTH, bars.length * height);
  context.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = 'middle';
  bars.forEach((bar, i) => drawBar(context, bar, i * height));
  return { title, canvas: context.canvas, legend: [] };
}

function drawBar(context: CanvasRenderingContext2D, { title, parts }: Bar, top: number): void {
  const write = (text: string, x: number, y: number): void => {
    context.fillStyle = colour('--text');
    context.fillText(text, x, y);
  };
  write(title, 0, top + LINE / 2);
  let left = 0;
  let [x, y] = [0, top + LINE + BAR + LINE / 2];
  for (const { text, share, ink } of parts) {
    context.fillStyle = colour(ink);
    context.fillRect(left, top + LINE, Math.max(1, share * WIDTH), BAR);
    left += share * WIDTH;
    const width = 18 + context.measureText(text).width;
    if (x + width > WIDTH) [x, y] = [0, y + LINE];
    context.fillStyle = colour(ink);
    context.fillRect(x, y - 6, 12, 12);
    write(text, x + 18, y);
    x += width + 16;
  }
}
