/*
 * `npm run bench -- compare A.json B.json` and `npm run bench -- show A.json`: what can be done
 * with reports that were written earlier. Several files of one side, separated by commas, are
 * repeated runs: their samples are pooled.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { compareReports, comparisonLines, comparisonTables } from '../bench/compare.ts';
import { ranOn } from '../bench/format.ts';
import { tidyCsv } from '../bench/exports.ts';
import type { Counted } from '../bench/exports.ts';
import { ReportRefusal, poolReports, readReport } from '../bench/read-report.ts';
import { mailText } from '../bench/mail-text.ts';
import { textReport, textTable } from '../bench/report-text.ts';
import type { BenchReport } from '../bench/types.ts';
import { Prng } from '../src/index.ts';
import { UsageError, readCommandLine } from './args.ts';
import { runCommand } from './cleanup.ts';
import { callerFolder, outputFiles } from './output-file.ts';

/** The command line of a comparison. */
export const COMPARE_COMMAND = {
  name: 'bench',
  usage: 'npm run bench -- compare BEFORE.json AFTER.json [options]',
  summary:
    'Holds one report against another: ratios with intervals by cell and goal, and which of the\n' +
    'differences are noise. Several files of one side, separated by commas, are repeated runs\n' +
    'and their cells are pooled (goals are those of the first); runs on different adapters are\n' +
    'not, and are compared only on request.',
  positionals: 'BEFORE.json AFTER.json',
  options: {
    all: { kind: 'flag', help: 'also cells whose difference is noise' },
    'any-adapter': { kind: 'flag', help: 'compares runs on different adapters all the same' },
  },
} as const;

/** The command line that shows a report. */
export const SHOW_COMMAND = {
  name: 'bench',
  usage: 'npm run bench -- show REPORT.json [options]',
  summary:
    'Prints a report that was written earlier, or parts of it. Several files, separated by\n' +
    "commas, are repeated runs on one adapter: their cells are pooled, all else is the first's.",
  positionals: 'REPORT.json',
  options: {
    csv: { kind: 'text', placeholder: 'FILE', help: 'writes tidy CSV, a row for each sample' },
    mail: { kind: 'flag', help: 'prints only the table for mailing lists: GB/s by folio size' },
    twice: { kind: 'flag', help: 'counts bytes twice in that table, read and written' },
  },
} as const;

/** Reads a side: one file, or several with commas between. */
export function readSide(argument: string): BenchReport {
  const files = argument.split(',');
  try {
    const reports = files.map((file) => readReport(contentOf(file), file));
    return poolReports(reports, files, new Prng(1));
  } catch (error) {
    throw error instanceof ReportRefusal ? new UsageError(error.message) : error;
  }
}

function contentOf(file: string): string {
  try {
    return readFileSync(resolve(callerFolder(), file), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`can't read ${file}: ${code ?? String(error)}`);
  }
}

function expectFiles(given: readonly string[], wanted: string): void {
  const count = wanted.split(' ').length;
  if (given.length === count) return;
  const few = given.length < count ? 'too few files' : `unexpected argument '${given[count]}'`;
  throw new UsageError(`${few}: write ${wanted} (see --help)`);
}

/** Runs on different adapters differ by what they ran on: refused, unless that was asked for. */
export function refuseOtherAdapter(before: BenchReport, after: BenchReport): void {
  const [ours, theirs] = [before, after].map(({ env }) => ranOn(env));
  if (ours === theirs) return;
  const both = `the runs are on different adapters, ${ours} and ${theirs}`;
  throw new UsageError(`${both}; --any-adapter compares them all the same`);
}

/** The text of a comparison. */
export function comparisonText(before: BenchReport, after: BenchReport, all: boolean): string {
  const comparison = compareReports(before, after);
  const tables = comparisonTables(comparison, all).map((table) => `\n${textTable(table)}`);
  return `${[...comparisonLines(comparison), ...tables].join('\n')}\n`;
}

/** What is pasted into a mail. */
export function mailOf(report: BenchReport, counted: Counted): string {
  return `${mailText(report, counted) ?? 'the report has no copy cells'}\n`;
}

export function compareMain(argv: readonly string[]): Promise<never> {
  const { values, positionals } = readCommandLine(COMPARE_COMMAND, argv);
  return runCommand('bench', () => {
    expectFiles(positionals, COMPARE_COMMAND.positionals);
    const [before, after] = positionals.map(readSide) as [BenchReport, BenchReport];
    if (!values['any-adapter']) refuseOtherAdapter(before, after);
    process.stdout.write(comparisonText(before, after, values.all));
    return Promise.resolve(0);
  });
}

export function showMain(argv: readonly string[]): Promise<never> {
  const { values, positionals } = readCommandLine(SHOW_COMMAND, argv);
  return runCommand('bench', () => {
    expectFiles(positionals, SHOW_COMMAND.positionals);
    const { csv } = outputFiles({ csv: values.csv });
    const report = readSide(positionals[0]!);
    csv?.write(tidyCsv(report));
    if (csv?.isStdout === true) return Promise.resolve(0);
    const counted = values.twice ? 'twice' : 'once';
    process.stdout.write(values.mail ? mailOf(report, counted) : textReport(report));
    return Promise.resolve(0);
  });
}
