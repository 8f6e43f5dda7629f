/*
 * `npm test`: every check that a change has to pass.
 *
 * Types, lint, format, then the tests on all three projects, then the canaries. Each step runs even
 * if an earlier one failed, so that one run shows all there is to mend. The last line counts
 * everything: a step that is one check (types, lint, format) counts as one, the others by their
 * tests. What failed is named once more above it: whoever sees only the end of a log sees that.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readCommandLine } from './args.ts';
import { onExit, runCommand, unlessStopped } from './cleanup.ts';
import { findTestPlatform } from './test-platform.ts';
import { runVitest } from './vitest-run.ts';

const ROOT = resolve(import.meta.dirname, '..');
const STEPS = ['types', 'lint', 'format', 'tests', 'canaries'] as const;
const LIMIT_MS = 40 * 60_000;

type Step = (typeof STEPS)[number];

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What failed, a line each, where the step can tell. */
  readonly failures?: readonly string[];
}

export function main(): Promise<never> {
  const { values } = readCommandLine({
    name: 'test',
    summary:
      'Runs every check: types, lint, format, the tests in Node, on Dawn and in Chromium, and\n' +
      'the canaries. With CI or REQUIRE_GPU set, a missing WebGPU adapter is a failure;\n' +
      'otherwise a skip.',
    options: {
      only: { kind: 'list', choices: STEPS, help: 'only these steps' },
    },
  });
  return runCommand('test', async () => {
    const steps = STEPS.filter((step) => values.only?.includes(step) ?? true);
    const total = { passed: 0, failed: 0, skipped: 0 };
    const lines: string[] = [];
    const failures: string[] = [];
    for (const step of steps) {
      process.stdout.write(`\n==== ${step}\n`);
      const start = performance.now();
      const counts = await runStep(step);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      total.passed += counts.passed;
      total.failed += counts.failed;
      total.skipped += counts.skipped;
      failures.push(...(counts.failures ?? []).map((failure) => `FAILED ${step}: ${failure}`));
      lines.push(`${step.padEnd(9)} ${seconds.padStart(6)} s  ${describe(counts)}`);
    }
    process.stdout.write(
      `\n==== summary\n${[...lines, ...failures].join('\n')}\n\n${describe(total)}\n`,
    );
    return total.failed === 0 && total.passed > 0 ? 0 : 1;
  });
}

function runStep(step: Step): Promise<Counts> {
  switch (step) {
    case 'types':
      return runTypes();
    case 'lint':
      return runCheck('oxlint/bin/oxlint', ['--type-aware', '--deny-warnings']);
    case 'format':
      return runCheck('oxfmt/bin/oxfmt', ['--check']);
    case 'tests':
      return runTests();
    case 'canaries':
      return runCanaries();
  }
}

async function runTypes(): Promise<Counts> {
  const all = await runCheck('typescript/bin/tsc', ['-p', 'tsconfig.json']);
  const core = await runCheck('typescript/bin/tsc', ['-p', 'tsconfig.core.json']);
  return { passed: all.passed + core.passed, failed: all.failed + core.failed, skipped: 0 };
}

/** The tests; a project that this machine can't run counts as one skip. */
async function runTests(): Promise<Counts> {
  let platform;
  try {
    platform = await findTestPlatform((line) => void process.stderr.write(`${line}\n`));
  } catch (error) {
    process.stdout.write(`${String(error)}\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const missing = [platform.dawn, platform.chromium].filter((state) => typeof state === 'string');
  const counts = await runVitest({ args: [], root: ROOT, quiet: false, timeoutMs: LIMIT_MS });
  const { passed, failed, skipped, failures } = counts;
  return { passed, failed, skipped: skipped + missing.length, failures };
}

/**
 * All canaries, in a process of their own; the tests have just passed or failed on the code as it
 * is.
 */
async function runCanaries(): Promise<Counts> {
  const folder = join(ROOT, 'test', 'canaries');
  const files = existsSync(folder) ? readdirSync(folder) : [];
  if (!files.some((file) => file.endsWith('.patch'))) {
    process.stdout.write('SKIP canaries: test/canaries holds no patches\n');
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const { status, output } = await runNode(['cli/run.mjs', 'canaries', '--skip-control'], true);
  const passed = output.match(/^ok \d+ /gm)?.length ?? 0;
  const failures: readonly string[] = output.match(/^not ok \d+ .*$/gm) ?? [];
  const missed = failures.length;
  return { passed, failed: status !== 0 && missed === 0 ? 1 : missed, skipped: 0, failures };
}

async function runCheck(program: string, args: readonly string[]): Promise<Counts> {
  const { status } = await runNode([join('node_modules', program), ...args], false);
  return status === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

/** Runs a Node program with its output shown; `keep` gives its stdout to the caller as well. */
async function runNode(
  args: readonly string[],
  keep: boolean,
): Promise<{ status: number; output: string }> {
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    stdio: ['ignore', keep ? 'pipe' : 'inherit', 'inherit'],
    timeout: LIMIT_MS,
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
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    process.stdout.write(text);
  });
  const status = await ended;
  await unlessStopped();
  await kill();
  return { status, output };
}

function describe({ passed, failed, skipped }: Counts): string {
  const counts = `${passed} passed, ${failed} failed`;
  return skipped === 0 ? counts : `${counts}, ${skipped} skipped`;
}
