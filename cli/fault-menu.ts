/*
 * `npm run fault -- --experiments`: the reproduction menu, a line per experiment.
 */
import { BREAKS, COST_MODEL, EXPERIMENTS, runExperiment } from '../src/index.ts';
import type { BreakName, CostModel, Curve, Experiment } from '../src/index.ts';
import { UsageError } from './args.ts';
import { outputFiles } from './output-file.ts';

const BAR = 40;

/** What of the menu is run, and how. */
export interface MenuOptions {
  /** Names or numbers; all where there is none. */
  readonly names: readonly string[];
  readonly broken: BreakName | undefined;
  readonly curves: boolean;
  readonly cost: CostModel | undefined;
  readonly json: string | undefined;
}

/** The names that `--break` takes, each with what it breaks. */
export function breakLines(): string {
  return Object.entries(BREAKS)
    .map(([name, what]) => `  ${name.padEnd(12)}${what}`)
    .join('\n');
}

/**
 * Runs experiments and prints a line for each as it is done.
 *
 * @returns the exit status: 1 where one fails
 * @throws UsageError for a name that no experiment has
 */
export function runMenu(options: MenuOptions): number {
  const chosen = choose(options.names);
  const { json } = outputFiles({ json: options.json });
  const print = (text: string): void => {
    if (json?.isStdout !== true) process.stdout.write(text);
  };
  const cost = options.cost ?? COST_MODEL;
  const reports = chosen.map((experiment) => {
    const report = runExperiment(experiment, { cost, broken: options.broken });
    print(`${report.line}\n`);
    if (options.curves) for (const curve of report.curves) print(draw(curve));
    return report;
  });
  // Infinity has no number in JSON: an open end of a relation is null.
  json?.write(JSON.stringify({ cost, broken: options.broken ?? null, experiments: reports }));
  const passes = reports.every((report) => report.passes);
  if (passes && options.broken !== undefined && options.names.length > 0) {
    process.stderr.write(`--break ${options.broken}: none of these notices; try all of them\n`);
  }
  return passes ? 0 : 1;
}

function choose(names: readonly string[]): readonly Experiment[] {
  for (const name of names) {
    if (!EXPERIMENTS.some((one) => isCalled(one, name))) {
      const known = EXPERIMENTS.map((one) => one.name).join(', ');
      throw new UsageError(
        `--experiments: there is no '${name}'; there are ${known}, or 1 to ${EXPERIMENTS.length}`,
      );
    }
  }
  return names.length === 0
    ? EXPERIMENTS
    : EXPERIMENTS.filter((one) => names.some((name) => isCalled(one, name)));
}

function isCalled({ name, number }: Experiment, word: string): boolean {
  return word === name || word === String(number);
}

/** A curve as bars, for a terminal. */
function draw({ name, x, y, points }: Curve): string {
  const most = Math.max(...points.map(([, value]) => value));
  const rows = points.map(([at, value]) => {
    const bar = '#'.repeat(most > 0 ? Math.round((value / most) * BAR) : 0);
    return `    ${String(at).padStart(10)} ${bar.padEnd(BAR)} ${Number(value.toPrecision(4))}`;
  });
  return `  ${name} (${x}${y === '' ? '' : `; ${y}`})\n${rows.join('\n')}\n`;
}
