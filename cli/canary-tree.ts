/*
 * Copies of the tree for `npm run canaries`, and test runs in them with one patch at a time.
 *
 * A copy is used for many patches: the files of a patch are put back after its run, and if anything
 * else in the copy has changed by then, or the run did not end by itself, the copy is thrown away.
 * Its tests are run by a process that stays (canary-runner.ts). Not all can be done so: where
 * Vitest's arguments are others than a project, files and a pattern, or the patch touches more than
 * the code under test (the tests' own set-up, the configuration, files that come or go), the patch
 * gets a copy and a Vitest of its own.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { cp, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { RunnerRequest } from './canary-runner.ts';
import { onExit, temporaryFolder, unlessStopped } from './cleanup.ts';
import { applyPatch, patchedFiles } from './patch.ts';
import { runVitest } from './vitest-run.ts';
import type { VitestCounts } from './vitest-run.ts';

const RUN = resolve(import.meta.dirname, 'run.mjs');
/** Folders that a copy does without. */
const NOT_COPIED = new Set(['node_modules', '.git', 'dist', 'lib', 'shots', '.vite', 'coverage']);
/** Projects whose test files get a process each from the runner, so nothing is left of a run. */
const PROJECTS = new Set(['node', 'dawn']);
/** What only tests load, so that a lasting Vitest can be told of a change. */
const CODE = /^(src|shaders|bench|examples)\//;
const LIMIT_MS = 5 * 60_000;
/** Characters of a run's output that are kept. */
const KEPT_OUTPUT = 20_000;

/** One copy of the tree in which patches are tried, one after the other. */
export class CanaryTree {
  readonly #root: string;
  #copy: LastingCopy | undefined;

  /** @param root the tree to copy */
  constructor(root: string) {
    this.#root = root;
  }

  /**
   * Runs tests on a copy, up to the first that fails.
   *
   * @param tests what follows `vitest run`, split at blanks
   * @param patch the patch that the copy gets before and loses after, if any
   * @param limitMs the run is ended and counts as broken after so many milliseconds
   * @throws PatchError where the patch does not apply
   */
  async run(tests: string, patch: string | undefined, limitMs = LIMIT_MS): Promise<VitestCounts> {
    await unlessStopped();
    const files = patch === undefined ? [] : patchedFiles(patch);
    const request = plainRequest(tests);
    const isLasting = files.every(({ path, isKept }) => isKept && CODE.test(path));
    if (request === undefined || !isLasting) {
      return runOnce(this.#root, tests, patch, limitMs);
    }
    this.#copy ??= await LastingCopy.make(this.#root);
    const paths = files.map(({ path }) => path);
    const outcome = await this.#copy.run(request, patch, paths, limitMs);
    if (!outcome.isUsable) await this.remove();
    return outcome.counts;
  }

  /** Removes the copy, if there is one, and ends what runs in it. */
  async remove(): Promise<void> {
    const copy = this.#copy;
    this.#copy = undefined;
    await copy?.remove();
  }
}

/**
 * Arguments of Vitest that a lasting runner understands: one project, then at most one pattern and
 * one limit, and files. Anything else is undefined.
 */
export function plainRequest(tests: string): Omit<RunnerRequest, 'changed'> | undefined {
  const filters: string[] = [];
  let project: string | undefined;
  let pattern: string | undefined;
  let limitMs: number | undefined;
  const words = tests.split(/\s+/)[Symbol.iterator]();
  for (const word of words) {
    if (word === '--project' && project === undefined) project = words.next().value;
    else if (word === '-t' && pattern === undefined) pattern = words.next().value ?? '';
    else if (/^--testTimeout=\d{3,}$/.test(word) && limitMs === undefined) {
      limitMs = Number(word.split('=')[1]);
    } else if (word.startsWith('-')) return undefined;
    else filters.push(word);
  }
  const isPlain = project !== undefined && PROJECTS.has(project) && pattern !== '';
  return isPlain ? { project: project!, filters, pattern, limitMs } : undefined;
}

/** Makes a copy of the tree, with the original's packages. */
async function copyTree(
  root: string,
): Promise<{ readonly path: string; readonly remove: () => Promise<void> }> {
  const folder = await temporaryFolder('webhmm-canary-');
  const path = await realpath(folder.path);
  await cp(root, path, {
    recursive: true,
    filter: (file) => !NOT_COPIED.has(relative(root, file)),
  });
  await symlink(await realpath(join(root, 'node_modules')), join(path, 'node_modules'), 'dir');
  return { path, remove: folder.remove };
}

/** Runs tests in a copy and a Vitest that serve nothing else. */
async function runOnce(
  root: string,
  tests: string,
  patch: string | undefined,
  limitMs: number,
): Promise<VitestCounts> {
  const copy = await copyTree(root);
  try {
    if (patch !== undefined) applyPatch(patch, copy.path);
    const words = tests.split(/\s+/);
    const args = [...words.map((word) => (word === 'node' ? 'node*' : word)), '--bail=1'];
    const counts = await runVitest({ args, root: copy.path, quiet: true, timeoutMs: limitMs });
    return withoutFolder(counts, copy.path);
  } finally {
    await copy.remove();
  }
}

function withoutFolder(counts: VitestCounts, folder: string): VitestCounts {
  return { ...counts, firstFailure: counts.firstFailure?.replaceAll(`${folder}/`, '') };
}

/** A copy of the tree with the process that runs tests in it. */
class LastingCopy {
  readonly #path: string;
  readonly #removeFolder: () => Promise<void>;
  readonly #runner: Runner;
  /** What each file is known by, to see whether it changed. */
  #marks: Map<string, string>;
  /** Files of the last patch, which its run may have left transformed. */
  #stale: readonly string[] = [];

  private constructor(
    folder: { readonly path: string; readonly remove: () => Promise<void> },
    marks: Map<string, string>,
    runner: Runner,
  ) {
    this.#path = folder.path;
    this.#removeFolder = folder.remove;
    this.#marks = marks;
    this.#runner = runner;
  }

  static async make(root: string): Promise<LastingCopy> {
    const folder = await copyTree(root);
    return new LastingCopy(folder, markFiles(folder.path), await startRunner(folder.path));
  }

  /**
   * Runs tests, with a patch or none.
   *
   * @param files what the patch changes, relative to the copy
   * @returns the counts, and whether the copy may be used once more
   */
  async run(
    request: Omit<RunnerRequest, 'changed'>,
    patch: string | undefined,
    files: readonly string[],
    limitMs: number,
  ): Promise<{ readonly counts: VitestCounts; readonly isUsable: boolean }> {
    const paths = files.map((file) => join(this.#path, file));
    const before = await Promise.all(paths.map((path) => readFile(path).catch(() => undefined)));
    if (patch !== undefined) applyPatch(patch, this.#path);
    const changed = [...new Set([...this.#stale, ...paths])];
    this.#stale = paths;
    const counts = await this.#runner.ask({ ...request, changed }, limitMs);
    await Promise.all(paths.map((path, i) => writeFile(path, before[i] ?? '')));
    const marks = markFiles(this.#path);
    const isSame = isSameBut(marks, this.#marks, new Set(paths));
    this.#marks = marks;
    const isUsable = isSame && this.#runner.isAlive();
    return { counts: withoutFolder(counts, this.#path), isUsable };
  }

  async remove(): Promise<void> {
    await this.#runner.stop();
    await this.#removeFolder();
  }
}

/** Size and time of each file of a copy, by path. */
function markFiles(folder: string): Map<string, string> {
  const marks = new Map<string, string>();
  const visit = (path: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory() && !NOT_COPIED.has(entry.name)) visit(child);
      if (!entry.isFile()) continue;
      const { size, mtimeMs } = statSync(child);
      marks.set(child, `${size} ${mtimeMs}`);
    }
  };
  visit(folder);
  return marks;
}

function isSameBut(
  now: ReadonlyMap<string, string>,
  before: ReadonlyMap<string, string>,
  ignored: ReadonlySet<string>,
): boolean {
  const isKnown = ([path, mark]: [string, string]) =>
    ignored.has(path) || before.get(path) === mark;
  return now.size === before.size && [...now].every(isKnown);
}

interface Runner {
  /** Has the process run tests. One at a time. Never throws because of what they do. */
  ask(request: RunnerRequest, limitMs: number): Promise<VitestCounts>;
  isAlive(): boolean;
  stop(): Promise<void>;
}

async function startRunner(cwd: string): Promise<Runner> {
  const folder = await temporaryFolder('webhmm-vitest-');
  // A group of its own, so that test processes that hang end with it.
  const isGroup = process.platform !== 'win32';
  const child = spawn(process.execPath, ['--enable-source-maps', RUN, 'canary-runner'], {
    cwd,
    env: { ...process.env, TMPDIR: folder.path },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: isGroup,
  });
  let isAlive = true;
  const ended = new Promise<void>((done) => {
    child.once('error', () => done());
    child.once('exit', () => done());
  }).then(() => {
    isAlive = false;
  });
  const kill = onExit(async () => {
    killGroup(child, isGroup);
    await ended;
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-KEPT_OUTPUT);
    });
  }
  return {
    async ask(request, limitMs) {
      output = '';
      const answer = await askChild(child, request, limitMs, ended);
      await unlessStopped();
      if (typeof answer !== 'string') return { ...answer, output: answer.output + output };
      await kill();
      const text = `${output}\n${answer}`;
      return { passed: 0, failed: 1, skipped: 0, firstFailure: undefined, output: text };
    },
    isAlive: () => isAlive,
    async stop() {
      await kill();
      await folder.remove();
    },
  };
}

/** Sends a request; the answer, or why there is none. */
function askChild(
  child: ChildProcess,
  request: RunnerRequest,
  limitMs: number,
  ended: Promise<void>,
): Promise<VitestCounts | string> {
  return new Promise((done) => {
    const timer = setTimeout(() => done(`error: no end within ${limitMs / 1000} s`), limitMs);
    const finish = (result: VitestCounts | string): void => {
      clearTimeout(timer);
      done(result);
    };
    child.once('message', (counts: VitestCounts) => finish(counts));
    void ended.then(() => finish(`error: the process that runs the tests ended`));
    child.send(request, (error) => {
      if (error !== null) finish(`error: ${String(error)}`);
    });
  });
}

function killGroup(child: ChildProcess, isGroup: boolean): void {
  if (!isGroup || child.pid === undefined) {
    child.kill('SIGKILL');
    return;
  }
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}
