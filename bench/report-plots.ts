/**
 * Which plots a report gets: throughput by batch for each direction and folio size, the batching
 * curve with its bound, whole migrations by batch with their first pages, and the distribution of
 * fault latencies.
 */
import { directionName, formatBytes } from './format.ts';
import { CPU_COPY, FIRST_PAGE, byBatch } from './first-page-cells.ts';
import { svgFigure } from './svg-plot.ts';
import type { PlotPoint, PlotSeries } from './svg-plot.ts';
import { copyCells, copyDirections } from './tables.ts';
import { isBroken } from './types.ts';
import type { BenchCell, BenchReport } from './types.ts';

function numberOf(cell: BenchCell, name: string): number {
  return Number(cell.params[name]);
}

function unique(values: readonly number[]): number[] {
  return [...new Set(values)].toSorted((a, b) => a - b);
}

function throughputPoint(cell: BenchCell): PlotPoint {
  const [fast, slow] = cell.ci;
  const rate = (us: number): number => cell.bytes / us / 1000;
  const point = { x: numberOf(cell, 'batch'), y: cell.gbPerSecond ?? 0 };
  return fast > 0 && slow > 0 ? { ...point, low: rate(slow), high: rate(fast) } : point;
}

function throughputPlots(report: BenchReport, direction: string): string[] {
  const cells = copyCells(report, direction).filter((cell) => !isBroken(cell));
  return unique(cells.map((cell) => numberOf(cell, 'folioBytes'))).map((folioBytes) => {
    const here = cells.filter((cell) => numberOf(cell, 'folioBytes') === folioBytes);
    const strategies = [...new Set(here.map((cell) => String(cell.params['strategy'])))];
    return svgFigure({
      title: `${directionName(direction)}, ${formatBytes(folioBytes)} folios`,
      x: { label: 'folios in a batch', log: true, format: String },
      y: { label: 'GB/s, moved once', log: true },
      series: strategies.map((name) => ({
        name,
        points: here
          .filter((cell) => cell.params['strategy'] === name)
          .map(throughputPoint)
          .toSorted((a, b) => a.x - b.x),
      })),
    });
  });
}

function curvePlot(report: BenchReport): string {
  const series: PlotSeries[] = [];
  for (const direction of ['to-device', 'to-host']) {
    const cells = report.cells
      .filter((cell) => cell.id.startsWith(`goal/G6/${direction}/`) && cell.verified)
      .toSorted((a, b) => numberOf(a, 'pages') - numberOf(b, 'pages'));
    const single = cells[0];
    if (single === undefined) continue;
    const best = Math.min(...cells.map((cell) => cell.median / numberOf(cell, 'pages')));
    const x = (cell: BenchCell): number => numberOf(cell, 'pages');
    const bound = (cell: BenchCell): number => 1.3 * (single.median + (x(cell) - 1) * best);
    series.push(
      {
        name: directionName(direction),
        points: cells.map((cell) => ({
          x: x(cell),
          y: cell.median,
          low: cell.ci[0],
          high: cell.ci[1],
        })),
      },
      {
        name: `${directionName(direction)}, bound of G6 for these medians`,
        points: cells.map((cell) => ({ x: x(cell), y: bound(cell) })),
        onlyLine: true,
      },
    );
  }
  return svgFigure({
    title: 'Time of a batch of scattered 4 KiB pages, automatic strategy',
    x: { label: 'pages in a batch', log: true, format: String },
    y: { label: 'us', log: true },
    series,
  });
}

function migratePlot(report: BenchReport): string {
  const cells = report.cells.filter((cell) => cell.id.startsWith('migrate/') && cell.verified);
  const directions = [...new Set(cells.map((cell) => String(cell.params['direction'])))];
  return svgFigure({
    title: 'Whole migrations of 4 KiB pages',
    x: { label: 'pages in a migration', log: true, format: String },
    y: { label: 'us a page', log: true },
    series: directions.map((direction) => ({
      name: directionName(direction),
      points: cells
        .filter((cell) => cell.params['direction'] === direction)
        .map((cell) => {
          const pages = numberOf(cell, 'pages');
          const perPage = cell.usPerPage ?? 0;
          return { x: pages, y: perPage, low: cell.ci[0] / pages, high: cell.ci[1] / pages };
        }),
    })),
  });
}

/** How long all of a batch takes, when its first page can be used, and a CPU's copy of it. */
function firstPagePlot(report: BenchReport): string {
  const series = [
    ['all of the batch', 'migrate/to-device/'],
    ['its first page usable', FIRST_PAGE],
    ['CPU copy of it, RAM to RAM', CPU_COPY],
  ] as const;
  return svgFigure({
    title: 'A batch to the device, and its first page',
    x: { label: 'pages in a batch', log: true, format: String },
    y: { label: 'us', log: true },
    series: series.map(([name, prefix]) => ({
      name,
      points: byBatch(report.cells, prefix)
        .filter(({ cell }) => !isBroken(cell))
        .map(({ batch, cell }) => {
          const [low, high] = cell.ci;
          return { x: batch, y: cell.median, low, high };
        }),
    })),
  });
}

/** Shares of samples at or below each latency. */
function distribution(samples: readonly number[]): PlotPoint[] {
  const ascending = samples.toSorted((a, b) => a - b);
  return ascending.map((us, at) => ({ x: us, y: ((at + 1) / ascending.length) * 100 }));
}

function faultPlot(report: BenchReport): string {
  const cells = report.cells.filter((cell) => cell.suite === 'fault' && cell.verified);
  return svgFigure({
    title: 'CPU faults on device pages: share served within a time',
    x: { label: 'us', log: true },
    y: { label: '% of faults', log: false },
    series: cells.map((cell) => ({
      name: String(cell.params['access']),
      points: distribution(cell.samples),
      onlyLine: true,
    })),
  });
}

/** All plots of the report as figures, those without data left out. */
export function reportPlots(report: BenchReport): string[] {
  return [
    ...copyDirections(report).flatMap((direction) => throughputPlots(report, direction)),
    curvePlot(report),
    migratePlot(report),
    firstPagePlot(report),
    faultPlot(report),
  ].filter((figure) => figure !== '');
}
