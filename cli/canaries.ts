/*
 * `npm run canaries`: puts known mistakes into the code, one at a time, and sees that the tests
 * notice.
 *
 * A canary is a patch in test/canaries. Its first lines say which tests must catch it, in the words
 * of Vitest's command line:
 *
 *     # caught-by: --project node test/model
 *
 * (`--project node` where nothing is said; it means all projects in Node that need no WebGPU.) Each
 * is applied to a copy of the tree in a temporary folder, and these tests are run there
 * (canary-tree.ts). The canary is caught if a test fails; it is missed if all pass, if the run
 * breaks in another way, or if the patch does not apply. So that a test that fails anyway is not
 * taken for a catch, the same tests are first run on an unpatched copy, where all have to pass.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { readCommandLine, UsageError } from './args.ts';
import { CanaryTree } from './canary-tree.ts';
import { runCommand } from './cleanup.ts';
import { startProgress } from './progress.ts';
import type { VitestCounts } from './vitest-run.ts';

const ROOT = resolve(import.meta.dirname, '..');
const DEFAULT_TESTS = '--project node';
/** More than there are cores: what a canary breaks is often noticed by a wait that does not end. */
const AT_ONCE = Math.max(3, Math.min(8, availableParallelism()));

interface Canary {
  readonly name: string;
  readonly patch: string;
  /** Vitest arguments. */
  readonly tests: string;
}

export function main(): Promise<never> {
  const { values, positionals } = readCommandLine({
    name: 'canaries',
    summary:
      'Applies each test/canaries/*.patch to a copy of the code, one at a time, and runs the\n' +
      'tests that its "# caught-by:" line names. Each must make a test fail.',
    options: {
      'skip-control': {
        kind: 'flag',
        help: 'do not first run these tests on an unpatched copy, where they have to pass',
      },
    },
    positionals: 'names of canaries, or parts of names',
  });
  return runCommand('canaries', async () => {
    const canaries = chooseCanaries(loadCanaries(join(ROOT, 'test', 'canaries')), positionals);
    const progress = startProgress('canaries');
    const timer = setInterval(() => progress.update('tests run on patched copies'), 1000);
    try {
      const broken = values['skip-control'] ? [] : await runControls(canaries);
      for (const line of broken) {
        progress.line(line);
      }
      return broken.length === 0 ? await runAll(canaries) : 1;
    } finally {
      clearInterval(timer);
      progress.end();
    }
  });
}

/**
 * Reads the canaries of a folder, in order of their names.
 *
 * @throws UsageError if there are none: a run without canaries must not pass for one that caught
 *   them
 */
export function loadCanaries(folder: string): Canary[] {
  const files = existsSync(folder) ? readdirSync(folder).toSorted() : [];
  const patches = files.filter((file) => file.endsWith('.patch'));
  if (patches.length === 0) {
    throw new UsageError(`there are no canaries: ${folder} holds no *.patch files`);
  }
  return patches.map((file) => {
    const patch = readFileSync(join(folder, file), 'utf8');
    const head = patch.slice(0, patch.search(/^(diff|---) /m));
    const tests = /^#\s*caught-by:\s*(.+)$/m.exec(head)?.[1]?.trim() ?? DEFAULT_TESTS;
    return { name: basename(file, '.patch'), patch, tests };
  });
}

/**
 * The canaries with one of these words in their name, or all where none is given.
 *
 * @throws UsageError where a word fits none
 */
export function chooseCanaries(all: readonly Canary[], names: readonly string[]): Canary[] {
  const unknown = names.find((name) => !all.some((canary) => canary.name.includes(name)));
  if (unknown !== undefined) {
    const known = all.map((canary) => `\n  ${canary.name}`).join('');
    throw new UsageError(`there is no canary '${unknown}'; there are${known}`);
  }
  return all.filter(
    (canary) => names.length === 0 || names.some((name) => canary.name.includes(name)),
  );
}

/** Runs the tests of all canaries on the code as it is. Answers what failed, a line each. */
async function runControls(canaries: readonly Canary[]): Promise<string[]> {
  const sets = [...new Set(canaries.map((canary) => canary.tests))];
  const outcomes = await inTurns(sets, async (tests, tree) => {
    const counts = await tree.run(tests, undefined);
    const ok = counts.failed === 0 && counts.passed > 0;
    const why = counts.firstFailure ?? complaint(counts.output);
    return ok ? undefined : `canaries: the tests '${tests}' fail without any canary: ${why}`;
  });
  return outcomes.filter((line) => line !== undefined);
}

async function runAll(canaries: readonly Canary[]): Promise<number> {
  let number = 0;
  const verdicts = await inTurns(canaries, async (canary, tree) => {
    const start = performance.now();
    const { caught, text } = await tryCanary(canary, tree);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    number++;
    const verdict = caught ? 'ok' : 'not ok';
    process.stdout.write(`${verdict} ${number} ${canary.name} ${text} in ${seconds} s\n`);
    return caught;
  });
  const missed = verdicts.filter((caught) => !caught).length;
  process.stdout.write(`${verdicts.length - missed} canaries caught, ${missed} missed\n`);
  return missed === 0 ? 0 : 1;
}

async function tryCanary(
  canary: Canary,
  tree: CanaryTree,
): Promise<{ caught: boolean; text: string }> {
  let counts: VitestCounts;
  try {
    counts = await tree.run(canary.tests, canary.patch);
  } catch (error) {
    return { caught: false, text: `does not apply: ${String(error)}` };
  }
  if (counts.firstFailure !== undefined) {
    return { caught: true, text: `caught by ${counts.firstFailure}` };
  }
  if (counts.failed > 0) {
    const why = complaint(counts.output);
    return { caught: false, text: `broke the run before any test failed: ${why}` };
  }
  return { caught: false, text: `missed: ${counts.passed} tests of '${canary.tests}' passed` };
}

/** Maps items with a few trees at a time, keeping their order in the result. */
async function inTurns<T, R>(
  items: readonly T[],
  task: (item: T, tree: CanaryTree) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    const tree = new CanaryTree(ROOT);
    try {
      for (let i = next++; i < items.length; i = next++) {
        results[i] = await task(items[i]!, tree);
      }
    } finally {
      await tree.remove();
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, lane));
  return results;
}

/** What a run that broke has to say: its first complaint, or else how it ended. */
function complaint(output: string): string {
  const lines = stripVTControlCharacters(output)
    .split('\n')
    .filter((line) => line.trim() !== '');
  const first = lines.find((line) => /error|no test files found/i.test(line));
  return first?.trim() ?? lines.slice(-2).join(' | ');
}
