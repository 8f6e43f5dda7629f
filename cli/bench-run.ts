/*
 * Runs the benchmark somewhere and completes its report with what only the command knows: the
 * commit, the browser's own name, where it keeps shared memory, the version of Node.
 */
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { WorkerMessage } from '../bench/bench-client.ts';
import type { BenchEnvironment, BenchOptions, BenchProgress, BenchReport } from '../bench/types.ts';
import { UsageError } from './args.ts';
import { currentCommit } from './bench-output.ts';
import { watchPage } from './browser-page.ts';
import type { BrowserPage } from './browser-page.ts';
import { openBrowser } from './browser.ts';
import type { BrowserRequest, OpenBrowser } from './browser.ts';
import { isStopped, onExit } from './cleanup.ts';
import { openNodeGpu } from './node-gpu.ts';
import { bundleNodeWorker } from './node-worker.ts';
import { startProgress } from './progress.ts';
import { openSite } from './site.ts';
import { workerHeap } from './worker-heap.ts';

/** The page of the site that runs the benchmark. */
const PAGE = '03-copy-bench/';
/** How long the page may take until it has begun. */
const LOAD_MS = 60_000;
/** A run that takes longer than this hangs. */
const QUICK_LIMIT_MS = 5 * 60_000;
const FULL_LIMIT_MS = 25 * 60_000;
/** How long a worker that is told to stop may take to close its machine. */
const GRACE_MS = 4000;

/** The goal that not every browser can decide. */
const HEAP_GOAL = 'G12';

/** What the page offers to whoever drives it. */
interface BenchWindow {
  readonly webhmmBench?: Promise<BenchReport>;
}

/** The query with which the page starts by itself, with these options. */
export function pageQuery(options: BenchOptions): string {
  const { suites, goals, preset, quick, seed, engine, powerPreference, soakMinutes } = options;
  const { fragments, channels, ringDepth, verify } = options;
  const { directions, strategies, folios, batches } = options;
  const pairs = ['auto'];
  if (suites !== undefined && suites.length > 0) pairs.push(`suite=${suites.join(',')}`);
  if (goals !== undefined && goals.length > 0) pairs.push(`goal=${goals.join(',')}`);
  if (preset !== undefined) pairs.push(`preset=${preset}`);
  if (soakMinutes !== undefined) pairs.push(`soak=${soakMinutes}`);
  pairs.push(`quick=${quick === true ? 1 : 0}`);
  if (seed !== undefined) pairs.push(`seed=${seed}`);
  if (engine === 'cpu') pairs.push('engine=cpu');
  if (powerPreference === 'high-performance') pairs.push('power=high');
  if (powerPreference === 'low-power') pairs.push('power=low');
  for (const [name, asked] of Object.entries({ directions, strategies, folios, batches })) {
    if (asked !== undefined && asked.length > 0) pairs.push(`${name}=${asked.join(',')}`);
  }
  if (fragments !== undefined) pairs.push(`fragments=${fragments}`);
  if (channels !== undefined) pairs.push(`channels=${channels}`);
  if (ringDepth !== undefined) pairs.push(`ring=${ringDepth}`);
  if (verify !== undefined) pairs.push(`verify=${verify}`);
  return `?${pairs.join('&')}`;
}

function complete(report: BenchReport, facts: Partial<BenchEnvironment>): BenchReport {
  const env = { ...report.env, node: process.versions.node, ...facts };
  return { ...report, commit: currentCommit(), env };
}

/**
 * A listener for progress messages that shows them on stderr, and its end. Of a run that is stopped
 * it says how far it came: that is written nowhere.
 */
function showProgress(): { on: (progress: BenchProgress) => void; end: () => void } {
  const progress = startProgress('bench');
  let cells = 0;
  let isOver = false;
  onExit(() => {
    if (isOver) return;
    const measured = cells === 1 ? '1 cell was' : `${cells} cells were`;
    process.stderr.write(`bench: ${measured} measured; of a stopped run nothing is written\n`);
  });
  return {
    on: ({ note, done, total, cell }) => {
      if (cell !== undefined) cells += 1;
      if (!isStopped()) progress.update(note, done, total);
    },
    end: () => {
      progress.end();
      // A run that ends because it was stopped has not come to its end.
      isOver = !isStopped();
    },
  };
}

/**
 * Runs the benchmark in a thread of this process, on Dawn or on the CPU engine.
 *
 * @throws UsageError without an adapter or without room for the machine
 */
export async function runInNode(
  options: BenchOptions,
  say: (line: string) => void,
): Promise<BenchReport> {
  if (options.engine !== 'cpu') {
    await openNodeGpu(say);
  }
  const copyWorker = (await bundleNodeWorker('src/worker/copy-worker-node.ts')).href;
  const worker = new Worker(await bundleNodeWorker('cli/bench-worker-node.ts'), {
    workerData: { ...options, copyWorker } satisfies BenchOptions,
  });
  const progress = showProgress();
  const result = reportOf(worker, progress.on);
  const end = onExit(async () => {
    worker.postMessage('abort');
    const settled = result.catch(() => {});
    await Promise.race([settled, delay(GRACE_MS, undefined, { ref: false })]);
    await worker.terminate();
  });
  try {
    return complete(await result, { cores: cpus().length });
  } finally {
    progress.end();
    await end();
  }
}

function reportOf(worker: Worker, onProgress: (progress: BenchProgress) => void) {
  return new Promise<BenchReport>((resolve, reject) => {
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'progress') onProgress(message.progress);
      else if (message.kind === 'report') resolve(message.report);
      else if (message.kind === 'failed') reject(new UsageError(message.message));
    });
    worker.on('error', reject);
    worker.on('exit', (code) => reject(new Error(`the worker thread ended with code ${code}`)));
  });
}

/**
 * Builds the site and runs the benchmark on its page in a browser.
 *
 * @throws UsageError where there is no browser with WebGPU or the machine can't be opened in it
 */
export async function runInBrowser(
  options: BenchOptions,
  request: BrowserRequest,
): Promise<BenchReport> {
  const browser = await openBrowser(request);
  const site = await openSite();
  const page = await browser.newPage();
  const progress = showProgress();
  try {
    await page.exposeFunction('reportProgress', progress.on);
    await page.exposeFunction('readWorkerHeap', await workerHeap(page));
    const report = await drive(page, `${site.url}${PAGE}${pageQuery(options)}`, options);
    return complete(await withHeapGoal(report, options), browserFacts(browser));
  } finally {
    progress.end();
    await page.close();
    await site.close();
    await browser.close();
  }
}

/**
 * Where the browser does not tell the heap of its worker, what bookkeeping leaves there (G12) is
 * measured in Node.
 */
async function withHeapGoal(report: BenchReport, options: BenchOptions): Promise<BenchReport> {
  const row = report.goals.find(({ id }) => id === HEAP_GOAL);
  const hasGoal = options.goals?.includes(HEAP_GOAL) ?? options.preset === undefined;
  const isAsked =
    options.soakMinutes === undefined && hasGoal && (options.suites?.includes('mm') ?? true);
  if (row === undefined || row.holds !== null || !isAsked) return report;
  const inNode = await runInNode(
    { ...options, suites: ['mm'], quick: true, engine: 'cpu' },
    () => {},
  );
  const measured = inNode.goals.find(({ id }) => id === HEAP_GOAL) ?? row;
  const parts = measured.parts.map((part) => ({ ...part, what: `${part.what} (in Node)` }));
  const goal = { ...measured, what: `${measured.what} (in Node)`, parts };
  return { ...report, goals: report.goals.map((one) => (one === row ? goal : one)) };
}

async function drive(page: BrowserPage, url: string, options: BenchOptions): Promise<BenchReport> {
  const guard = watchPage(page);
  await guard.race(page.goto(url, { timeout: LOAD_MS }));
  const begun = page.waitForFunction(
    () => (globalThis as BenchWindow).webhmmBench !== undefined,
    undefined,
    { timeout: LOAD_MS },
  );
  await guard.race(begun);
  const result = page.evaluate(async () => {
    try {
      return { report: await (globalThis as BenchWindow).webhmmBench };
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  });
  const answer = await guard.race(withLimit(result, options));
  if (answer.report === undefined) {
    throw new UsageError(answer.failure ?? 'the page gave no report');
  }
  return answer.report;
}

async function withLimit<T>(result: Promise<T>, options: BenchOptions): Promise<T> {
  const soakMs = (options.soakMinutes ?? 0) * 60_000;
  const limit = soakMs + (options.quick === true ? QUICK_LIMIT_MS : FULL_LIMIT_MS);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no report after ${limit / 60_000} min`)), limit);
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}

function browserFacts(browser: OpenBrowser): Partial<BenchEnvironment> {
  const at = browser.name.lastIndexOf(' ');
  const isChromium = !/firefox/i.test(browser.name);
  return {
    browser: browser.name.slice(0, at),
    version: browser.name.slice(at + 1),
    devShm: isChromium ? (browser.sharedMemoryInTmp ? 'tmp' : 'shm') : null,
  };
}
