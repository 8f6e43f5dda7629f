/*
 * What people are shown: the adapter first, nothing unverified as a figure, an HTML file that
 * needs nothing else.
 */
import { describe, expect, test } from 'vitest';
import { formatBytes, formatNumber, shortBytes } from '../../../bench/format.ts';
import { htmlReport } from '../../../bench/report-html.ts';
import { textReport } from '../../../bench/report-text.ts';
import { svgFigure } from '../../../bench/svg-plot.ts';
import { isVerified } from '../../../bench/types.ts';
import type { BenchReport } from '../../../bench/types.ts';
import { syntheticReport } from './synthetic-report.ts';

const SOFTWARE = "SOFTWARE ADAPTER: figures are functional only, not a GPU's";

/** The report with another environment. */
function withEnv(env: Partial<BenchReport['env']>): BenchReport {
  const report = syntheticReport();
  return { ...report, env: { ...report.env, ...env } };
}

describe('the text report', () => {
  const lines = textReport(syntheticReport()).split('\n');
  const trimmed = lines.map((one) => one.trim());
  const line = (start: string): string => trimmed.find((one) => one.startsWith(start)) ?? '';

  test('names the adapter first and says that it is software', () => {
    expect(lines[0]).toBe('adapter: google swiftshader SwiftShader <Device>');
    expect(lines[1]).toBe(SOFTWARE);
  });

  test('a hardware adapter has no such line', () => {
    expect(textReport(withEnv({ isSoftware: false }))).not.toContain('SOFTWARE');
  });

  test('the CPU engine and a hidden tab are said', () => {
    const text = textReport(withEnv({ engine: 'cpu', hidden: true }));
    expect(text).toContain('CPU ENGINE: no adapter was used');
    expect(text).toContain('THE TAB WAS HIDDEN');
    expect(text).not.toContain(SOFTWARE);
  });

  test('throughput is bytes moved once over the median', () => {
    expect(line('strategy')).toBe('strategy  4K x512  2M x1');
    expect(line('staging')).toMatch(/2\.00 +-$/);
    expect(line('commands')).toMatch(/1\.00 +4\.00$/);
  });

  test('an unverified cell shows no figure, is counted and explained', () => {
    expect(line('runs')).toMatch(/FAIL +-$/);
    expect(lines).toContain('1 CELLS WERE NOT VERIFIED: their figures are worth nothing');
    expect(lines).toContain(
      '  copy/to-device/runs/4096/512: page 0 of 512 is wrong from word 0 on',
    );
  });

  test('goals say MISS with the limit, and how far ours is from it', () => {
    expect(line('G4')).toMatch(/MISS +2\.10 >= 2\.50 .*; limit here 2\.30: a wall <here>; /);
    expect(line('G4')).toMatch(/; in the same rounds ours takes 1\.04 times as long as that /);
    expect(line('G4')).toMatch(/ as that \(0\.980 to 1\.13\)$/);
  });

  test('goals that were not measured share one line', () => {
    expect(line('not measured')).toMatch(/^not measured: G1, G2, G3, G5, .*G11\b/);
    expect(lines.some((one) => /^ +G1 /.test(one))).toBe(false);
  });

  test('why a goal is open is said where it was asked for by name', () => {
    const report = syntheticReport();
    const why = 'needs a GPU: this adapter computes on the CPU';
    const goals = report.goals.map((goal) => (goal.id === 'G16' ? { ...goal, why } : goal));
    expect(textReport({ ...report, goals })).not.toContain(why);
    const env = { ...report.env, goals: ['G16'] };
    expect(textReport({ ...report, goals, env })).toContain(`\n  G16: ${why}\n`);
  });

  test('without a measured goal there is no table of goals', () => {
    const { goals, ...rest } = syntheticReport();
    const open = goals.filter(({ holds }) => holds === null);
    expect(textReport({ ...rest, goals: open })).not.toContain('\nGoals\n');
    const text = textReport({ ...rest, goals: goals.filter(({ id }) => id === 'G4') });
    expect(text).toContain('\nGoals\n');
    expect(text).not.toContain('not measured');
  });

  test('what was left out is grouped by reason', () => {
    expect(lines).toContain(
      '  copy/to-device/runs/2097152/512 (and 1 more): moves more than 256 MiB',
    );
  });

  test('fault latencies are shown as percentiles', () => {
    expect(line('access')).toBe('access  what  p50  p90  p99  max  n');
    expect(line('read')).toMatch(/^read +4KiB +700 +812 +837 +840 +3$/);
  });
});

describe('the HTML report', () => {
  const html = htmlReport(syntheticReport());

  test('loads nothing from anywhere', () => {
    expect(html).not.toMatch(/https?:|\ssrc=|@import|url\(|<link/);
  });

  test('follows the system theme and has a button for the other', () => {
    expect(html).toContain('prefers-color-scheme:dark');
    expect(html).toContain('data-theme=dark');
    expect(html).toContain('<button');
  });

  test('escapes what adapters and goals say', () => {
    expect(html).toContain('SwiftShader &lt;Device&gt;');
    expect(html).toContain('a wall &lt;here&gt;');
    expect(html).not.toContain('<Device>');
  });

  test('shows the warning, the tables and plots with logarithmic axes', () => {
    expect(html).toContain(SOFTWARE.replace("'", '&#39;'));
    expect(html.match(/<table>/g)?.length).toBeGreaterThanOrEqual(6);
    expect(html.match(/<figure>/g)?.length).toBeGreaterThanOrEqual(4);
    expect(html).not.toContain('NaN');
    expect(html).not.toContain('undefined');
  });

  test('a report without any cell is still a document', () => {
    const empty = htmlReport({ ...syntheticReport(), cells: [], omitted: [] });
    expect(empty).toContain('</html>');
    expect(empty).not.toContain('<figure>');
    expect(empty).not.toContain('NaN');
  });
});

describe('plots', () => {
  const axis = { label: 'x', log: true };
  const plot = (points: { x: number; y: number }[]) =>
    svgFigure({ title: 't', x: axis, y: axis, series: [{ name: 's', points }] });

  test('equal ratios are equal distances on a logarithmic axis', () => {
    const figure = plot([1, 10, 100].map((x) => ({ x, y: 1 })));
    const [a, b, c] = [...figure.matchAll(/<circle cx="([\d.]+)"/g)].map(([, cx]) => Number(cx));
    expect(b! - a!).toBeCloseTo(c! - b!, 0);
  });

  test('one point, and a value of zero, are drawn inside the plot', () => {
    for (const figure of [
      plot([{ x: 4, y: 4 }]),
      plot([
        { x: 1, y: 0 },
        { x: 2, y: 5 },
      ]),
    ]) {
      const [, cx, cy] = /<circle cx="([\d.]+)" cy="([\d.]+)"/.exec(figure)!;
      expect(Number(cx)).toBeGreaterThan(50);
      expect(Number(cy)).toBeLessThan(300);
      expect(figure).not.toContain('NaN');
    }
  });

  test('nothing to draw is no figure', () => {
    expect(svgFigure({ title: 't', x: axis, y: axis, series: [] })).toBe('');
  });
});

describe('numbers', () => {
  test('three significant digits without exponent', () => {
    expect([0, 0.01234, 1.005, 12.34, 999.6, 123456].map(formatNumber)).toEqual([
      '0',
      '0.0123',
      '1.00',
      '12.3',
      '1000',
      '123456',
    ]);
    expect(formatNumber(Number.NaN)).toBe('-');
  });

  test('sizes have fitting units', () => {
    expect([512, 4096, 65536, 2 ** 21, 1.5 * 2 ** 30].map(formatBytes)).toEqual([
      '512 B',
      '4 KiB',
      '64 KiB',
      '2 MiB',
      '1.5 GiB',
    ]);
    expect([4096, 2 ** 21].map(shortBytes)).toEqual(['4K', '2M']);
  });
});

describe('isVerified', () => {
  test('one cell that was not verified makes the run fail, so does a run without cells', () => {
    const report = syntheticReport();
    const good = report.cells.filter((cell) => cell.verified);
    expect(isVerified(report)).toBe(false);
    expect(isVerified({ ...report, cells: good })).toBe(true);
    expect(isVerified({ ...report, cells: [] })).toBe(false);
  });
});
