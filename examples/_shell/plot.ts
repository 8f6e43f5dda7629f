/*
 * Line and point plots on linear or logarithmic axes: uPlot, in the colours of the theme, as wide
 * as its place, with its numbers as a table for whoever can't see it.
 *
 * uPlot can't recolour itself, so a change of theme or of size class makes it anew. Data is
 * replaced as a whole; that copies, which is fine for the thousands of points that pages show.
 */
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { isNumbered, logLines, paddedRange, short } from './axis.ts';
import { el, onWidth } from './dom.ts';
import { digits } from './numbers.ts';
import { colour, onThemeChange } from './theme.ts';

/** One axis. */
export interface PlotAxis {
  readonly label: string;
  /** Base of a logarithmic axis; linear without. */
  readonly log?: 2 | 10;
  /** Where a linear axis begins and ends; default: what is plotted. */
  readonly range?: readonly [number, number];
  /** How its numbers are written, on the axis, in the legend and in the table. */
  readonly format?: (value: number) => string;
}

/** One series. */
export interface PlotSeries {
  readonly label: string;
  /** Values by point of x; null where there is none. */
  readonly values: readonly (number | null)[];
  /** Gives colour and dashes, so that they stay with a name; default: its place in the list. */
  readonly slot?: number;
  /** Gives the dashes, where they do not go with the colour. */
  readonly dash?: number;
  /** A line to hold the others against: thin, dotted, grey. */
  readonly isReference?: boolean;
}

/** What is plotted. */
export interface PlotData {
  readonly x: readonly number[];
  readonly series: readonly PlotSeries[];
}

export interface PlotOptions {
  readonly title: string;
  readonly x: PlotAxis;
  readonly y: PlotAxis;
  /** What a series is drawn with. Default both. */
  readonly marks?: 'points' | 'lines' | 'both';
  /** Pixels. */
  readonly height?: number;
}

const COLOURS = 7;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [14, 4]];
const MIN_WIDTH = 240;

/** Something drawn, to be put into a file. */
export interface Picture {
  readonly title: string;
  /** In device pixels. */
  readonly canvas: HTMLCanvasElement;
  readonly legend: readonly {
    readonly label: string;
    readonly colour: string;
    readonly dash: readonly number[];
  }[];
}

export class Plot {
  readonly element: HTMLElement;
  private readonly options: PlotOptions;
  private readonly host = el('div');
  private readonly table = el('table', { class: 'numbers' });
  private data: PlotData = { x: [], series: [] };
  private chart: uPlot | null = null;

  constructor(options: PlotOptions) {
    this.options = options;
    const summary = el('summary', {}, 'Numbers of this plot');
    const details = el('details', {}, summary, el('div', { class: 'scroll' }, this.table));
    details.addEventListener('toggle', () => this.fillTable());
    const kind = options.marks === 'points' ? 'plot' : 'plot lined';
    this.element = el('figure', { class: kind, 'aria-label': options.title }, this.host, details);
    onThemeChange(this.element, () => this.rebuild());
    onWidth(this.host, (width) => this.resize(width));
  }

  /** Replaces what is plotted. */
  update(data: PlotData): void {
    const isSame =
      data.series.length === this.data.series.length &&
      data.series.every(({ label }, i) => label === this.data.series[i]?.label);
    this.data = data;
    if (isSame && this.chart !== null) this.chart.setData(this.columns());
    else this.rebuild();
    this.fillTable();
  }

  /** The plot as a picture, with what its legend says; null where nothing is drawn. */
  picture(title: string): Picture | null {
    if (this.chart === null || this.host.clientWidth === 0) return null;
    const legend = this.data.series.map((series, i) => ({
      label: series.label,
      colour: this.strokeOf(i),
      dash: dashOf(series, i),
    }));
    return { title, canvas: this.chart.ctx.canvas, legend };
  }

  private columns(): uPlot.AlignedData {
    const { x, series } = this.data;
    // What is below a clock's tick is 0, which has no place on a logarithmic axis.
    const drawn = (value: number | null): number | null =>
      value !== null && value <= 0 && this.options.y.log !== undefined ? null : value;
    return [[...x], ...series.map(({ values }) => values.map(drawn))];
  }

  private resize(width: number): void {
    if (width < MIN_WIDTH) return;
    if (this.chart === null) this.rebuild();
    else this.chart.setSize({ width, height: this.chart.height });
  }

  private rebuild(): void {
    this.chart?.destroy();
    this.chart = null;
    const width = this.host.clientWidth;
    if (width < MIN_WIDTH || this.data.series.length === 0) return;
    this.chart = new uPlot(this.chartOptions(width), this.columns(), this.host);
  }

  private chartOptions(width: number): uPlot.Options {
    const { x, y, height = 260 } = this.options;
    const scale = (axis: PlotAxis): uPlot.Scale =>
      axis.log === undefined
        ? { time: false, ...(axis.range && { range: [axis.range[0], axis.range[1]] }) }
        : { time: false, distr: 3, log: axis.log, range: (_, min, max) => paddedRange(min, max) };
    return {
      width,
      height,
      scales: { x: scale(x), y: scale(y) },
      axes: [chartAxis(x, false), chartAxis(y, true)],
      series: [
        { label: x.label, value: (_, value) => hovered(x, value) },
        ...this.data.series.map((series, i) => this.chartSeries(series, i)),
      ],
      cursor: { points: { size: 8 }, drag: { x: false, y: false } },
      legend: { markers: { width: 0, fill: (_, i) => this.markerOf(i - 1) } },
    };
  }

  private chartSeries(series: PlotSeries, i: number): uPlot.Series {
    const { marks = 'both', y } = this.options;
    const { isReference = false } = series;
    const stroke = this.strokeOf(i);
    const dash = dashOf(series, i);
    return {
      label: series.label,
      stroke,
      dash,
      width: isReference ? 1.5 : 2,
      spanGaps: true,
      value: (_, value) => hovered(y, value),
      ...(marks === 'points' ? { paths: () => null } : {}),
      points: { show: marks !== 'lines' && !isReference, size: 6, width: 0, fill: stroke },
    };
  }

  private strokeOf(i: number): string {
    const { slot = i, isReference = false } = this.data.series[i] ?? {};
    return colour(isReference ? '--muted' : `--series-${(slot % COLOURS) + 1}`);
  }

  /** What stands for a series in the legend: its colour, and its dashes where it has a line. */
  private markerOf(i: number): string {
    const series = this.data.series[i];
    const stroke = this.strokeOf(i);
    if (series === undefined || this.options.marks === 'points') return stroke;
    return dashed(stroke, dashOf(series, i));
  }

  private fillTable(): void {
    if (this.table.closest('details')?.open !== true) return;
    const { x, y } = this.options;
    const names = [x.label, ...this.data.series.map(({ label }) => label)];
    const head = el('tr', {}, ...names.map((name) => el('th', {}, name)));
    const rows = this.data.x.map((at, i) => {
      const cells = this.data.series.map(({ values }) => written(y, values[i] ?? null));
      return el('tr', {}, ...[written(x, at), ...cells].map((text) => el('td', {}, text)));
    });
    this.table.replaceChildren(el('thead', {}, head), el('tbody', {}, ...rows));
  }
}

/** A line with dashes, as a background. */
export function dashed(stroke: string, dash: readonly number[]): string {
  if (dash.length === 0) return stroke;
  let at = 0;
  const stops = dash.map((length, i) => {
    const from = at;
    at += length;
    return `${i % 2 === 0 ? stroke : 'transparent'} ${from}px ${at}px`;
  });
  return `repeating-linear-gradient(90deg, ${stops.join(', ')})`;
}

function dashOf({ slot, dash, isReference = false }: PlotSeries, i: number): number[] {
  return isReference ? [1, 4] : (DASHES[(dash ?? slot ?? i) % DASHES.length] ?? []);
}

/** Lines of our own; uPlot's filter would drop those that are not on whole decades. */
function logarithmic(log: 2 | 10): Partial<uPlot.Axis> {
  return { splits: (_, __, min, max) => logLines(log, min, max), filter: (_, lines) => lines };
}

/** In the legend, which shows the values under the pointer and is else quiet. */
function hovered(axis: PlotAxis, value: number | null): string {
  return value === null ? '' : written(axis, value);
}

function written(axis: PlotAxis, value: number | null): string {
  if (value === null) return '–';
  return axis.format === undefined ? digits(value) : axis.format(value);
}

/** Pixels for the longest of an axis's numbers, with its tick. */
function widthOf(values: readonly string[] | null): number {
  const longest = Math.max(0, ...(values ?? []).map((text) => text.length));
  return 14 + 7 * Math.max(3, longest);
}

function chartAxis(axis: PlotAxis, isVertical: boolean): uPlot.Axis {
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const line = { stroke: colour('--grid'), width: 1 };
  const { log } = axis;
  return {
    label: axis.label,
    labelFont: font,
    labelSize: axis.label === '' ? 0 : 18,
    labelGap: 0,
    font,
    stroke: colour('--muted'),
    grid: line,
    ticks: { ...line, size: 4 },
    gap: 4,
    size: (_, values) => (isVertical ? widthOf(values) : 30),
    values: (_, splits) =>
      splits.map((at) =>
        log === undefined || isNumbered(log, at, splits) ? short(written(axis, at)) : '',
      ),
    ...(log === undefined ? {} : logarithmic(log)),
  };
}
