/*
 * Where the benchmark's results go. Files are checked before the run, since a run takes minutes,
 * and nothing is left behind by the check.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { extname, join, relative, resolve } from 'node:path';
import { htmlReport } from '../bench/report-html.ts';
import { textReport } from '../bench/report-text.ts';
import type { BenchReport } from '../bench/types.ts';
import { UsageError } from './args.ts';
import { callerFolder, checkWritable, writeNow } from './output-file.ts';

const ROOT = resolve(import.meta.dirname, '..');
const DEFAULT_FOLDER = join(ROOT, 'bench-results');

export interface BenchOutput {
  readonly json: string;
  readonly html: string;
}

/**
 * Settles the names of both files and makes sure that they can be written.
 *
 * @param kind part of the names where they are not given, '' for none
 * @throws UsageError that names the option and the file
 */
export function prepareOutput(
  json: string | undefined,
  report: string | undefined,
  kind: string,
): BenchOutput {
  if (json === undefined || report === undefined) {
    checkFolder(DEFAULT_FOLDER);
  }
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  const base = join(DEFAULT_FOLDER, `${stamp}${kind === '' ? '' : `-${kind}`}`);
  const named = (file: string): string => resolve(callerFolder(), file);
  const output = { json: named(json ?? `${base}.json`), html: named(report ?? `${base}.html`) };
  if (output.json === output.html) {
    throw new UsageError(`--json and --report name the same file, ${output.json}`);
  }
  if (report !== undefined && !['.html', '.htm'].includes(extname(report))) {
    throw new UsageError(`--report takes a file that ends in .html, not '${report}'`);
  }
  checkWritable('json', output.json);
  checkWritable('report', output.html);
  return output;
}

function checkFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new UsageError(
      `can't make the folder ${folder}: ${reasonOf(error)}; use --json, --report`,
    );
  }
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

/** The checked-out commit, with "+" when files differ from it; null outside of a repository. */
export function currentCommit(): string | null {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const commit = git('rev-parse', '--short=12', 'HEAD').trim();
    return git('status', '--porcelain').trim() === '' ? commit : `${commit}+`;
  } catch {
    return null;
  }
}

/** Writes both files. @throws UsageError that names option and file, when the disk is full */
export function writeReport(report: BenchReport, output: BenchOutput): void {
  writeNow('json', output.json, `${JSON.stringify(report, undefined, 1)}\n`);
  writeNow('report', output.html, htmlReport(report));
}

/** Prints the tables, and where the rest is. */
export function printReport(report: BenchReport, output: BenchOutput): void {
  const near = (file: string): string => {
    const path = relative(process.cwd(), file);
    return path.startsWith('..') ? file : path;
  };
  process.stdout.write(`${textReport(report)}\n`);
  process.stdout.write(`written: ${near(output.json)}, ${near(output.html)}\n`);
}
