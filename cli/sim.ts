/*
 * `npm run sim`: the deterministic simulator of src/sim, many seeds on all cores.
 *
 * Each thread takes a few seeds at a time. The first run that fails ends the others; it is shrunk
 * and printed with its log and with the commands that repeat it: the seed, and the shrunk steps in
 * a file. Exit status 1 on a violation.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { SimChoice } from '../src/sim/config.ts';
import { OPERATIONS } from '../src/sim/ops/table.ts';
import type { SimScript } from '../src/sim/shrink.ts';
import { readCommandLine, UsageError } from './args.ts';
import { onExit, runCommand } from './cleanup.ts';
import { bundleNodeWorker } from './node-worker.ts';
import { startProgress } from './progress.ts';
import type { SimFailure, SimReply, SimRequest } from './sim-worker.ts';

/** Where shrunk runs are kept. */
const FOLDER = 'sim-failures';
const SHRINK_MS = 60_000;
/** Steps of a run in which each allocation and copy is made to fail. */
const NTH_STEPS = 400;
/** A thread that says nothing for so long is in an endless loop. */
const SILENT_MS = 120_000;
const NTH_SEEDS = 20;
const NAMES = OPERATIONS.map(({ name }) => name);

const SPEC = {
  name: 'sim',
  summary:
    'Simulates processes, CPU cores and two devices on one machine, with seeded interleaving\n' +
    'and faults, and checks all invariants and all bytes. Exit status 1: something was violated.',
  options: {
    seed: { kind: 'number', placeholder: 'N', min: 0, max: 2 ** 31, help: 'first seed (1)' },
    seeds: {
      kind: 'number',
      placeholder: 'COUNT',
      min: 1,
      max: 2 ** 31,
      help: 'number of seeds (200; 1 with --seed)',
    },
    steps: {
      kind: 'number',
      placeholder: 'M',
      min: 1,
      max: 10_000_000,
      help: 'steps of each seed (10000)',
    },
    only: {
      kind: 'text',
      placeholder: 'NAMES',
      help: 'only these operations, besides vital ones',
      refuse: refuseNames,
    },
    skip: {
      kind: 'text',
      placeholder: 'NAMES',
      help: `without these operations; there are\n${nameLines()}`,
      refuse: refuseNames,
    },
    nth: {
      kind: 'flag',
      help:
        'fail the 1st, 2nd, ... allocation and copy of each seed\n' +
        `(${NTH_SEEDS} seeds of ${NTH_STEPS} steps), instead of random faults`,
    },
    replay: { kind: 'text', placeholder: 'FILE', help: 'repeat a shrunk run, with its log' },
    jobs: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 256,
      help: 'threads (one per core)',
    },
  },
} as const;

/** The names of all operations, separated by commas, in lines that fit. */
function nameLines(): string {
  return NAMES.reduce((text, name) => {
    const line = text.slice(text.lastIndexOf('\n') + 1);
    if (line === '') return text + name;
    return line.length + name.length > 52 ? `${text},\n${name}` : `${text}, ${name}`;
  }, '');
}

function refuseNames(value: string): string | undefined {
  const unknown = namesIn(value).find((name) => !NAMES.includes(name));
  return unknown === undefined ? undefined : `knows no operation '${unknown}' (see --help)`;
}

function namesIn(value: string): string[] {
  return value.split(',').map((name) => name.trim());
}

interface Totals {
  seeds: number;
  steps: number;
  failures: number;
  /** Operations by name. */
  readonly tally: Record<string, number>;
}

export function main(): Promise<never> {
  const { values } = readCommandLine(SPEC);
  return runCommand('sim', async () => {
    const url = await bundleNodeWorker('cli/sim-worker.ts');
    if (values.replay !== undefined) return replay(url, values.replay);
    const { only, skip, nth } = values;
    const first = values.seed ?? 1;
    const count = values.seeds ?? (values.seed === undefined ? (nth ? NTH_SEEDS : 200) : 1);
    const steps = values.steps ?? (nth ? NTH_STEPS : 10_000);
    const choice: SimChoice = {
      ...(only === undefined ? {} : { only: namesIn(only) }),
      ...(skip === undefined ? {} : { skip: namesIn(skip) }),
    };
    const totals: Totals = { seeds: 0, steps: 0, failures: 0, tally: {} };
    const requests = nth ? eachSeed(first, count, steps) : someSeeds(first, count, steps, choice);
    const jobs = Math.min(values.jobs ?? availableParallelism(), count);
    const failure = await runAll(url, requests, jobs, totals, count);
    if (failure !== null) return report(url, failure, nth);
    process.stdout.write(summary(totals, nth));
    return 0;
  });
}

function* eachSeed(first: number, count: number, steps: number): Generator<SimRequest> {
  for (let seed = first; seed < first + count; seed++) yield { kind: 'nth', seed, steps };
}

function* someSeeds(
  first: number,
  count: number,
  steps: number,
  choice: SimChoice,
): Generator<SimRequest> {
  const atOnce = 4;
  for (let from = first; from < first + count; from += atOnce) {
    yield { kind: 'seeds', from, count: Math.min(atOnce, first + count - from), steps, choice };
  }
}

/** Has the threads answer all requests. @returns the first failure, or null. */
async function runAll(
  url: URL,
  requests: Iterator<SimRequest>,
  jobs: number,
  totals: Totals,
  seeds: number,
): Promise<SimFailure | null> {
  const progress = startProgress('sim');
  const where = (): string => `${totals.seeds} of ${seeds} seeds, ${totals.steps} steps`;
  const timer = setInterval(() => progress.update(where()), 1000);
  const workers = Array.from({ length: jobs }, () => new Worker(url));
  let isOver = false;
  const end = onExit(async () => {
    clearInterval(timer);
    progress.end();
    if (!isOver) process.stderr.write(`sim: no violation in ${where()}\n`);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
  let failure: SimFailure | null = null;
  await Promise.all(
    workers.map(async (worker) => {
      for (;;) {
        const next = failure === null ? requests.next() : { done: true as const };
        if (next.done === true) return;
        // Not `failure ??= await`: that looks before it waits, and would lose another thread's.
        const found = await ask(worker, next.value, totals);
        failure ??= found;
      }
    }),
  );
  isOver = true;
  await end();
  return failure;
}

/** One request to one thread. @returns its failure, or null. */
function ask(worker: Worker, request: SimRequest, totals: Totals): Promise<SimFailure | null> {
  return new Promise((resolve, reject) => {
    let failure: SimFailure | null = null;
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    const onSilence = (): void => fail(new UsageError(`endless loop: ${describe(request)}`));
    let timer = setTimeout(onSilence, SILENT_MS);
    const onMessage = (message: SimReply): void => {
      clearTimeout(timer);
      timer = setTimeout(onSilence, SILENT_MS);
      if (message.kind === 'failure') failure = message.failure;
      else if (message.kind === 'nth') totals.failures += message.failures;
      else if (message.kind === 'seed') addSeed(totals, message);
      else if (message.kind === 'done') {
        if (request.kind === 'nth') totals.seeds++;
        worker.off('message', onMessage);
        worker.off('error', fail);
        clearTimeout(timer);
        resolve(failure);
      }
    };
    worker.on('message', onMessage);
    worker.once('error', fail);
    worker.postMessage(request);
  });
}

/** The request, in words. */
function describe(request: SimRequest): string {
  if (request.kind === 'script') return 'the shrunk steps';
  if (request.kind === 'nth') return `seed ${request.seed}`;
  return `one of the seeds ${request.from} to ${request.from + request.count - 1}`;
}

function addSeed(totals: Totals, message: SimReply & { kind: 'seed' }): void {
  totals.seeds++;
  totals.steps += message.steps;
  for (const [name, times] of Object.entries(message.tally)) {
    totals.tally[name] = (totals.tally[name] ?? 0) + times;
  }
}

function summary(totals: Totals, nth: boolean): string {
  const rows = Object.entries(totals.tally).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const counts = rows.map(([name, times]) => `  ${name.padEnd(18)}${times}\n`).join('');
  return nth
    ? `sim: ${totals.failures} single failures of ${totals.seeds} seeds: no violation\n`
    : `${counts}sim: ${totals.steps} steps of ${totals.seeds} seeds: no violation\n`;
}

/** Shrinks a failing run, keeps it in a file, and says how to repeat it. */
async function report(url: URL, failure: SimFailure, nth: boolean): Promise<number> {
  const { seed, steps, message, stack } = failure;
  const again = nth ? `--nth --seed ${seed}` : `--seed ${seed} --steps ${steps}`;
  process.stderr.write(`sim: seed ${seed}, step ${steps}: ${message}\n${stack}\n`);
  process.stderr.write(`\nrepeat it:  npm run sim -- ${again}\n`);
  if (nth) return 1;
  const progress = startProgress('sim');
  const timer = setInterval(() => progress.update('shrinks the failure'), 1000);
  const small = await runScript(url, failure.script, SHRINK_MS);
  clearInterval(timer);
  progress.end();
  if (small === null) {
    process.stderr.write('The steps alone do not repeat it: look at the seed.\n');
    return 1;
  }
  await mkdir(FOLDER, { recursive: true });
  const file = `${FOLDER}/seed-${seed}.json`;
  await writeFile(file, JSON.stringify(small.script));
  printScript(small);
  process.stderr.write(`\nrepeat that:  npm run sim -- --replay ${file}\n`);
  return 1;
}

async function runScript(
  url: URL,
  script: SimScript,
  shrinkMs: number,
): Promise<SimFailure | null> {
  const worker = new Worker(url);
  const end = onExit(async () => void (await worker.terminate()));
  const totals: Totals = { seeds: 0, steps: 0, failures: 0, tally: {} };
  const failure = await ask(worker, { kind: 'script', script, shrinkMs }, totals);
  await end();
  return failure;
}

function printScript({ script, message, log }: SimFailure): void {
  const { operations } = script.trace;
  const names = operations.map((number) => NAMES[number]).join(' ');
  process.stderr.write(`\n${operations.length} steps: ${names}\n`);
  process.stderr.write(`\n${log.join('\n')}\n\n${message}\n`);
}

async function replay(url: URL, file: string): Promise<number> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError(`can't read ${file}`);
  });
  let script: SimScript;
  try {
    script = JSON.parse(text) as SimScript;
  } catch {
    throw new UsageError(`${file} is no file of shrunk steps`);
  }
  const failure = await runScript(url, script, 0);
  if (failure === null) {
    process.stdout.write('sim: these steps violate nothing\n');
    return 0;
  }
  printScript(failure);
  return 1;
}
