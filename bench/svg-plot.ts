/**
 * Plots as SVG text: lines with points and intervals over logarithmic or linear axes. No script,
 * no fonts, no colours of its own: colours come from CSS variables `--series-0` ... and
 * `currentColor`, so a plot follows the page's light or dark. Each series has a dash pattern of
 * its own, for those who can't tell the colours apart.
 */
import { formatNumber } from './format.ts';

/** A point with an optional interval of y. */
export interface PlotPoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number;
  readonly high?: number;
}

export interface PlotSeries {
  readonly name: string;
  readonly points: readonly PlotPoint[];
  /** Draws points only where true; a line without points where false. Both by default. */
  readonly onlyLine?: boolean;
}

export interface PlotAxis {
  readonly label: string;
  readonly log: boolean;
  /** Text of a tick; a plain number by default. */
  readonly format?: (value: number) => string;
}

export interface Plot {
  readonly title: string;
  readonly x: PlotAxis;
  readonly y: PlotAxis;
  readonly series: readonly PlotSeries[];
}

const WIDTH = 480;
const HEIGHT = 300;
const LEFT = 64;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 52;
/** CSS has that many series colours; more series start over with other dashes. */
const SERIES_COLOURS = 7;
const DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 2', '1 2', '12 4'];
const MAX_TICKS = 7;

/** Escapes text for HTML and SVG, in content and in quoted attributes. */
export function escapeHtml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (sign) => names[sign]!);
}

/** Maps values to a length in the drawing. */
interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** The ticks of `candidates` that lie in the range; null when there are too few or too many. */
function usableTicks(candidates: readonly number[], low: number, high: number): number[] | null {
  const inside = candidates.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  return inside.length >= 2 && inside.length <= MAX_TICKS ? inside : null;
}

/** Powers of `radix`, every `step`-th of them, each times the digits. */
function powers(
  low: number,
  high: number,
  radix: number,
  step: number,
  digits: number[],
): number[] {
  const power = (value: number): number => Math.log(value) / Math.log(radix);
  const ticks: number[] = [];
  for (let at = Math.floor(power(low) / step) * step; at <= power(high); at += step) {
    ticks.push(...digits.map((digit) => digit * radix ** at));
  }
  return ticks;
}

/**
 * Ticks at powers of two where all values are such; else at 1, 2 and 5 of each decade or at powers
 * of ten, and at round numbers in a range that is too narrow for these.
 */
function logTicks(low: number, high: number, doubling: boolean): number[] {
  const steps = [1, 2, 3, 4, 6];
  const candidates = doubling
    ? steps.map((step) => powers(low, high, 2, step, [1]))
    : [
        powers(low, high, 10, 1, [1, 2, 5]),
        ...steps.map((step) => powers(low, high, 10, step, [1])),
      ];
  for (const ticks of candidates) {
    const usable = usableTicks(ticks, low, high);
    if (usable !== null) return usable;
  }
  return linearTicks(low, high);
}

function linearTicks(low: number, high: number): number[] {
  const rough = (high - low) / (MAX_TICKS - 2);
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * magnitude).find((one) => one >= rough)!;
  const ticks: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) {
    ticks.push(Number(tick.toPrecision(12)));
  }
  return ticks;
}

function scaleFor(axis: PlotAxis, values: readonly number[], from: number, to: number): Scale {
  const usable = axis.log ? values.filter((value) => value > 0) : values;
  let low = Math.min(...usable);
  let high = Math.max(...usable);
  if (usable.length === 0) [low, high] = [1, 10];
  if (axis.log) {
    // Room around the data, and a range even when there is one point.
    [low, high] = low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
    const ratio = Math.log(high / low);
    const doubling = values.every((value) => Number.isInteger(Math.log2(value)));
    const at = (value: number): number =>
      from + (Math.log(Math.max(value, low) / low) / ratio) * (to - from);
    return { ticks: logTicks(low, high, doubling), at };
  }
  if (low === high) high = low + 1;
  const at = (value: number): number => from + ((value - low) / (high - low)) * (to - from);
  return { ticks: linearTicks(low, high), at };
}

/** As few digits as the tick needs: "0.05", "1", "200". */
function shortNumber(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function round(value: number): string {
  return value.toFixed(1);
}

function axes(plot: Plot, x: Scale, y: Scale): string {
  const text = (axis: PlotAxis, value: number): string =>
    escapeHtml((axis.format ?? shortNumber)(value));
  const bottom = HEIGHT - BOTTOM;
  const right = WIDTH - RIGHT;
  const vertical = x.ticks.map((tick) => {
    const at = round(x.at(tick));
    const label = `<text x="${at}" y="${bottom + 19}" text-anchor="middle">`;
    return `<path class="grid" d="M${at} ${TOP}V${bottom}"/>${label}${text(plot.x, tick)}</text>`;
  });
  const horizontal = y.ticks.map((tick) => {
    const at = round(y.at(tick));
    const label = `<text x="${LEFT - 6}" y="${at}" dy="0.32em" text-anchor="end">`;
    return `<path class="grid" d="M${LEFT} ${at}H${right}"/>${label}${text(plot.y, tick)}</text>`;
  });
  const middle = (TOP + bottom) / 2;
  return [
    ...vertical,
    ...horizontal,
    `<path class="axis" d="M${LEFT} ${TOP}V${bottom}H${right}"/>`,
    `<text x="${(LEFT + right) / 2}" y="${HEIGHT - 8}" text-anchor="middle">`,
    `${escapeHtml(plot.x.label)}</text>`,
    `<text transform="translate(16 ${middle}) rotate(-90)" text-anchor="middle">`,
    `${escapeHtml(plot.y.label)}</text>`,
  ].join('');
}

function drawSeries(series: PlotSeries, at: number, x: Scale, y: Scale): string {
  const colour = `style="--c:var(--series-${at % SERIES_COLOURS})"`;
  const place = (point: PlotPoint): string => `${round(x.at(point.x))} ${round(y.at(point.y))}`;
  const dash = DASHES[at % DASHES.length]!;
  const path = series.points.map((point, i) => `${i === 0 ? 'M' : 'L'}${place(point)}`).join('');
  const line = `<path class="line" d="${path}" stroke-dasharray="${dash}"/>`;
  const marks =
    series.onlyLine === true ? [] : series.points.map((point) => mark(point, series, x, y));
  return `<g ${colour}>${line}${marks.join('')}</g>`;
}

function mark(point: PlotPoint, series: PlotSeries, x: Scale, y: Scale): string {
  const cx = round(x.at(point.x));
  const interval =
    point.low === undefined || point.high === undefined
      ? ''
      : `<path class="interval" d="M${cx} ${round(y.at(point.low))}V${round(y.at(point.high))}"/>`;
  const title = `${series.name}: ${formatNumber(point.y)} at ${formatNumber(point.x)}`;
  const circle = `<circle cx="${cx}" cy="${round(y.at(point.y))}" r="3.2">`;
  return `${interval}${circle}<title>${escapeHtml(title)}</title></circle>`;
}

/** The plot as a figure with caption and legend; an empty string when there is nothing to draw. */
export function svgFigure(plot: Plot): string {
  const series = plot.series.filter((one) => one.points.length > 0);
  if (series.length === 0) return '';
  const points = series.flatMap((one) => one.points);
  const x = scaleFor(
    plot.x,
    points.map((point) => point.x),
    LEFT,
    WIDTH - RIGHT,
  );
  const heights = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
  const y = scaleFor(plot.y, heights, HEIGHT - BOTTOM, TOP);
  const drawn = series.map((one, at) => drawSeries(one, at, x, y)).join('');
  const legend = series.map((one, at) => {
    const colour = `--c:var(--series-${at % SERIES_COLOURS})`;
    const dash = DASHES[at % DASHES.length]!;
    const line = `<path class="line" d="M0 4H24" stroke-dasharray="${dash}"/>`;
    const sample = `<svg viewBox="0 0 24 8" aria-hidden="true">${line}</svg>`;
    return `<li style="${colour}">${sample}${escapeHtml(one.name)}</li>`;
  });
  const label = escapeHtml(plot.title);
  return [
    `<figure><figcaption>${label}</figcaption>`,
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">`,
    `${axes(plot, x, y)}${drawn}</svg><ul class="legend">${legend.join('')}</ul></figure>`,
  ].join('');
}
