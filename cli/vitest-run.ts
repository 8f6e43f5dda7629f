/*
 * Runs Vitest as a process of its own and counts its results.
 *
 * The counts come from Vitest's JSON report. A run can fail without a failed test (a file that
 * can't be imported, an unhandled rejection, a crash of Vitest); each of these counts as one
 * failure, so that no way to fail goes missing.
 *
 * Vitest and the browsers that it starts get a temporary folder of their own, which is removed when
 * they are gone: a Vitest that is stopped leaves files in it.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from './chromium-bundle.ts';
import { onExit, temporaryFolder, unlessStopped } from './cleanup.ts';

export interface VitestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Full name of the first failed test, with its file; undefined where no test failed. */
  readonly firstFailure: string | undefined;
  /** All that the run printed, where `quiet` was asked for. */
  readonly output: string;
}

export interface VitestRun extends VitestCounts {
  /** A line for each failed test and file, with the first line of its message. */
  readonly failures: readonly string[];
}

export interface VitestRequest {
  /** Arguments after `vitest run`. */
  readonly args: readonly string[];
  /** The checkout to run in. */
  readonly root: string;
  /** Keeps the output for the caller instead of showing it. */
  readonly quiet: boolean;
  /** The run is ended and counts as failed after this long. */
  readonly timeoutMs: number;
}

/** The part of Vitest's JSON report that is read here. */
interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    /** Why a file could not be run. */
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

let runs = 0;

/** Runs the tests; never throws because of a failing run. */
export async function runVitest(request: VitestRequest): Promise<VitestRun> {
  const cache = cacheFolder();
  await mkdir(cache, { recursive: true });
  runs++;
  const report = join(cache, `vitest.pid${process.pid}-${runs}.json`);
  const removeReport = onExit(() => rmSync(report, { force: true }));
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const vitest = join(request.root, 'node_modules', 'vitest', 'vitest.mjs');
  const { status, output } = await runProcess(
    [vitest, 'run', ...reporters, ...request.args],
    request,
  );
  const results = readReport(report);
  const counts = countResults(results, status);
  await removeReport();
  return { ...counts, failures: listFailures(results), output };
}

/** Adds up a report. Exported for tests. */
export function countResults(
  report: JsonReport | undefined,
  status: number,
): Omit<VitestCounts, 'output'> {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  let firstFailure: string | undefined;
  for (const file of report?.testResults ?? []) {
    const before = failed;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') {
        passed++;
      } else if (test.status === 'failed') {
        failed++;
        firstFailure ??= `${test.fullName.trim()} (${file.name})`;
      } else {
        skipped++;
      }
    }
    if (file.status === 'failed' && failed === before) {
      failed++;
    }
  }
  return { passed, failed: status !== 0 && failed === 0 ? 1 : failed, skipped, firstFailure };
}

/** Names what failed, in the order of the report. Exported for tests. */
export function listFailures(report: JsonReport | undefined): string[] {
  const firstLine = (text = ''): string => text.trim().split('\n', 1)[0]!;
  return (report?.testResults ?? []).flatMap((file) => {
    const failed = file.assertionResults.filter(({ status }) => status === 'failed');
    if (failed.length === 0 && file.status === 'failed') {
      return [`${file.name}: ${firstLine(file.message)}`];
    }
    return failed.map(
      ({ fullName, failureMessages }) =>
        `${fullName.trim()} (${file.name}): ${firstLine(failureMessages?.[0])}`,
    );
  });
}

function readReport(path: string): JsonReport | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as JsonReport;
  } catch {
    return undefined;
  }
}

async function runProcess(
  args: readonly string[],
  request: VitestRequest,
): Promise<{ status: number; output: string }> {
  const folder = await temporaryFolder('webhmm-vitest-');
  const child = spawn(process.execPath, args, {
    cwd: request.root,
    env: { ...process.env, TMPDIR: folder.path },
    stdio: request.quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    timeout: request.timeoutMs,
    killSignal: 'SIGTERM',
  });
  const ended = new Promise<number>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => done(code ?? 1));
  });
  const kill = onExit(async () => {
    child.kill('SIGTERM');
    await ended.catch(() => {});
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const status = await ended;
  await unlessStopped();
  await kill();
  await folder.remove();
  return { status, output };
}
