/*
 * Runs tests in one copy of the tree again and again, as `npm run canaries` changes it: a process
 * of its own for each copy, started with the copy as its working folder.
 *
 * Most of what a short test costs is Vitest's own start and the transformation of some hundred
 * modules that no canary touches. So Vitest stays, one instance for each project, and is told which
 * files have changed. Each test file still runs in a fresh process, which gets its modules from
 * here: nothing outlives a run but the transformed text of files that are as they were. What a run
 * found is told by its own events only, as Vitest's state remembers earlier runs too.
 *
 * It ends when its parent does.
 */
import { inspect } from 'node:util';
import { createVitest } from 'vitest/node';
import type { TestCase, TestModule, Vitest } from 'vitest/node';
import type { Reporter } from 'vitest/reporters';
import type { VitestCounts } from './vitest-run.ts';

/** What a runner is asked for. */
export interface RunnerRequest {
  readonly project: string;
  /** Parts of the names of the test files; none = all. */
  readonly filters: readonly string[];
  /** The tests with such names, where it is given. */
  readonly pattern: string | undefined;
  /** How long a test or hook may take, where the project's limit is not to hold. */
  readonly limitMs: number | undefined;
  /** Absolute paths of the files that are not what they were at the last request. */
  readonly changed: readonly string[];
}

/** Counts one run, and what there is to say of it. */
class Tally implements Reporter {
  #passed = 0;
  #failed = 0;
  #skipped = 0;
  #firstFailure: string | undefined;
  #output = '';

  onTestCaseResult(test: TestCase): void {
    const { state } = test.result();
    if (state === 'passed') {
      this.#passed++;
    } else if (state === 'failed') {
      this.#failed++;
      this.#firstFailure ??= `${fullName(test)} (${test.module.moduleId})`;
    } else {
      this.#skipped++;
    }
  }

  onTestModuleEnd(module: TestModule): void {
    if (module.state() !== 'failed') return;
    // A file that can't be imported has no tests to fail.
    const errors = [module, ...module.children.allSuites()].flatMap((suite) => suite.errors());
    if (errors.length > 0) this.onError(errors);
  }

  /** A failure outside of any test. */
  onError(error: unknown): void {
    this.#output += `${inspect(error)}\n`;
    if (this.#failed === 0) this.#failed = 1;
  }

  counts(): VitestCounts {
    return {
      passed: this.#passed,
      failed: this.#failed,
      skipped: this.#skipped,
      firstFailure: this.#firstFailure,
      output: this.#output,
    };
  }
}

/** The names of a test's groups and its own, as Vitest's JSON report has them. */
function fullName(test: TestCase): string {
  return test.fullName.split(' > ').join(' ');
}

interface Instance {
  readonly vitest: Vitest;
  /** How long a test and a hook may take, by project, as the configuration has it. */
  readonly limits: readonly { readonly test: number; readonly hook: number }[];
  tally: Tally;
}

/** The running instances with what they report to, by project. */
const instances = new Map<string, Instance>();

async function instanceOf(project: string): Promise<Instance> {
  const known = instances.get(project);
  if (known !== undefined) return known;
  const relay: Reporter = {
    onTestCaseResult: (test) => instance.tally.onTestCaseResult(test),
    onTestModuleEnd: (module) => instance.tally.onTestModuleEnd(module),
  };
  const vitest = await createVitest('test', {
    // The projects in Node count as one: a canary does not care which of them has its tests.
    project: [project === 'node' ? 'node*' : project],
    watch: false,
    bail: 1,
    fileParallelism: false,
    // A process that stays would not see that a file has changed.
    isolate: true,
    reporters: [relay],
  });
  const limits = vitest.projects.map(({ config }) => ({
    test: config.testTimeout,
    hook: config.hookTimeout,
  }));
  const instance = { vitest, limits, tally: new Tally() };
  instances.set(project, instance);
  return instance;
}

async function runTests(request: RunnerRequest): Promise<VitestCounts> {
  const instance = await instanceOf(request.project);
  const tally = new Tally();
  instance.tally = tally;
  for (const { vitest } of instances.values()) {
    for (const file of request.changed) vitest.invalidateFile(file);
  }
  const { vitest, limits } = instance;
  for (const [i, { config }] of vitest.projects.entries()) {
    config.testTimeout = request.limitMs ?? limits[i]!.test;
    config.hookTimeout = request.limitMs ?? limits[i]!.hook;
  }
  if (request.pattern === undefined) vitest.resetGlobalTestNamePattern();
  else vitest.setGlobalTestNamePattern(request.pattern);
  const chosen = await vitest.globTestSpecifications([...request.filters]);
  if (chosen.length === 0) {
    tally.onError(`No test files found for '${request.filters.join(' ')}'`);
  } else {
    const { unhandledErrors } = await vitest.runTestSpecifications(chosen);
    for (const error of unhandledErrors) tally.onError(error);
  }
  return tally.counts();
}

async function answer(request: RunnerRequest): Promise<void> {
  let counts: VitestCounts;
  try {
    counts = await runTests(request);
  } catch (error) {
    const tally = new Tally();
    tally.onError(error);
    counts = tally.counts();
  }
  process.send?.(counts);
}

/** Serves requests until its parent goes. */
export async function main(): Promise<never> {
  Object.assign(process.env, { TEST: 'true', VITEST: 'true', NODE_ENV: 'test' });
  process.on('message', (request: RunnerRequest) => void answer(request));
  await new Promise((gone) => process.once('disconnect', gone));
  // With its test processes, which may hang: it leads a group of its own.
  if (process.platform !== 'win32') process.kill(-process.pid, 'SIGKILL');
  process.exit(1);
}
