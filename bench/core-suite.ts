/**
 * Faults of a CPU core in a worker of its own, each timed in that worker from the load to its
 * value: against bare copy and mapAsync (G8), in windows against single pages (G9), and without the
 * device against a bare round trip between threads and one through the main thread (G10).
 */
import { PAGE_SIZE, PROT_READ, PROT_WRITE } from '../src/index.ts';
import { BenchCore, hasCores, startWorker } from './bench-core.ts';
import { answerByLoop, blockedOn, questionWords, timedElsewhere } from './blocked-thread.ts';
import type { HopTimes } from './core-worker.ts';
import { seedFor } from './content.ts';
import { FaultAround } from './insides.ts';
import { judge, limitOf, withLimit } from './goal-parts.ts';
import { withProcess } from './migrate-suite.ts';
import type { MigratingProcess } from './migrate-suite.ts';
import type { RawGpu } from './raw-gpu.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, interleave } from './sampler.ts';
import type { Operation, Sampled } from './sampler.ts';
import { bootstrap, pairedRatio, quantile } from './stats.ts';
import type { GoalPart } from './types.ts';

/** Pages of the range: 2 MiB, aligned within the mapping. */
const RANGE_PAGES = 512;
const WINDOW_PAGES = 16;
const WARMUPS = 5;
const MAX_OVER_BARE = 1.25;
const MAX_TAIL = 1.5;
const MAX_WINDOW = 1.3;
const MIN_SWEEP_GAIN = 10;
const MAX_OVER_RAW = 2.5;
const MIN_OVER_MAIN = 4;
/** Hops that make one sample, so that it is long against the clock's tick. */
const CHAIN = 8;

/** Cells that the suite adds: bare, for a blocked thread, 4 KiB, 64 KiB, two sweeps, five hops. */
export const CORE_CELLS = 11;
/** For clear_refs: all pages become old. */
const CLEAR_REFS_ALL = 1;

/** Measures G8 to G10. Adds their cells and results to `ctx`. */
export async function runCoreSuite(ctx: RunContext, raw: RawGpu): Promise<void> {
  if (!hasCores()) return ctx.omit('fault/core', 'cores are started in browsers only');
  await ctx.say('fault', 'G8, G9 faults of a core');
  await withProcess(ctx, 2 * RANGE_PAGES, 'fault/core', async (subject) => {
    const core = await BenchCore.start(ctx, subject.process);
    try {
      await measureFaults(ctx, raw, subject, core);
      return sampledOf([1]);
    } finally {
      core.end();
    }
  });
  await ctx.say('fault', 'G10 hops');
  await measureHops(ctx);
}

function sampledOf(samples: number[]): Sampled {
  return { samples, dropped: 0, chained: 1, failure: null, phases: null };
}

async function toDevice(subject: MigratingProcess): Promise<void> {
  const errno = await subject.migrate('MIGRATE_TO_DEV');
  if (errno !== 0) throw new OperationFailure(`MIGRATE_TO_DEV answered errno ${errno}`);
}

/** What a core does on a range that has gone to the device. `start` is aligned to the range. */
interface CoreFaults {
  /** Touches one page, with windows of so many pages. */
  readonly fault: (window: number) => Operation;
  /** Touches all pages in order. */
  readonly sweep: (window: number) => Operation;
  /**
   * Has a window come home and go to the device again. Precedes whatever is timed: the threads of
   * a software adapter go on looking for work for a while, on cores that others then lack.
   */
  readonly roundTrip: () => Promise<void>;
}

function coreFaults(
  ctx: RunContext,
  subject: MigratingProcess,
  core: BenchCore,
  start: number,
): CoreFaults {
  const device = ctx.machine.kernel.devices[0]!;
  const totals = ctx.copyMachine.engine.stats;
  let page = 0;
  const setWindow = (window: number): void => {
    device.faultAround = window === 1 ? null : new FaultAround(window);
    page = (page + WINDOW_PAGES * 5) % RANGE_PAGES;
  };
  const roundTrip = async (): Promise<void> => {
    // What the last fault brought goes back first: all are preceded by as much.
    await toDevice(subject);
    setWindow(WINDOW_PAGES);
    await subject.process.touch(start + page * PAGE_SIZE, 'read');
    await toDevice(subject);
  };
  const fault = (window: number): Operation => ({
    totals,
    ...timedElsewhere(
      async () => {
        await roundTrip();
        setWindow(window);
      },
      () => core.touch(start + page * PAGE_SIZE),
      () => subject.compare(),
    ),
  });
  const sweep = (window: number): Operation =>
    timedElsewhere(
      async () => {
        await toDevice(subject);
        setWindow(window);
      },
      () => core.sweep(start, RANGE_PAGES),
    );
  return { fault, sweep, roundTrip };
}

async function measureFaults(
  ctx: RunContext,
  raw: RawGpu,
  subject: MigratingProcess,
  core: BenchCore,
): Promise<void> {
  const size = RANGE_PAGES * PAGE_SIZE;
  const start = Math.ceil(subject.addr / size) * size;
  const { fault, sweep, roundTrip } = coreFaults(ctx, subject, core, start);
  const into = new Uint8Array(new SharedArrayBuffer(PAGE_SIZE));
  const bare = await raw.contiguousReadback(into, seedFor(ctx.plan.seed, 'G8'));
  // The time between what is prepared and what is timed is the same for all: a message away.
  const resident = subject.addr + (start === subject.addr ? RANGE_PAGES * PAGE_SIZE : 0);
  const beside = async (): Promise<number> => {
    await roundTrip();
    return core.touch(resident);
  };
  const bareBeside: Operation = {
    ...bare,
    prepare: async (last) => {
      await bare.prepare?.(last);
      await beside();
    },
  };
  const asked = await raw.contiguousReadback(into, seedFor(ctx.plan.seed, 'G8 blocked'));
  const blocked = blockedOn(asked, core, beside);
  const { pairs, sweeps } = ctx.plan.fault;
  try {
    // First, so that the others find their code compiled.
    const sweepOrder = alternating(2, sweeps);
    const all = await interleave([sweep(1), sweep(RANGE_PAGES)], () => sweepOrder, 1, ctx.signal);
    const order = alternating(FAULT_NAMES.length, pairs);
    const faults = await interleave(
      [bareBeside, blocked.operation, fault(1), fault(WINDOW_PAGES)],
      () => order,
      WARMUPS,
      ctx.signal,
    );
    report(ctx, faults, all);
  } finally {
    blocked.close();
    ctx.machine.kernel.devices[0]!.faultAround = null;
  }
}

/** 0, 1, 2, 2, 1, 0, 0, ...: each as often. */
function alternating(operations: number, rounds: number): number[] {
  const round = Array.from({ length: operations }, (_, i) => i);
  return Array.from({ length: rounds }, (_, i) =>
    i % 2 === 0 ? round : round.toReversed(),
  ).flat();
}

const FAULT_NAMES = ['bare', 'bare-blocked', '4KiB', '64KiB'] as const;
const SWEEP_NAMES = ['sweep-4KiB', 'sweep-around'] as const;

function report(ctx: RunContext, faults: readonly Sampled[], sweeps: readonly Sampled[]): void {
  const add = (name: string, pages: number, sampled: Sampled): void => {
    const params = { access: 'core', what: name, pages, direction: 'to-host', strategy: 'auto' };
    const id = `fault/core/${name}`;
    const bytes = pages * PAGE_SIZE;
    ctx.addCell({ suite: 'fault', id, params, unit: 'us', bytes, pages }, sampled);
  };
  FAULT_NAMES.forEach((name, i) => add(name, name === '64KiB' ? WINDOW_PAGES : 1, faults[i]!));
  SWEEP_NAMES.forEach((name, i) => add(name, RANGE_PAGES, sweeps[i]!));
  if ([...faults, ...sweeps].some(({ failure }) => failure !== null)) return;
  const [bare, blocked, single, window] = faults.map(({ samples }) => samples);
  const random = ctx.resampling;
  const middle = pairedRatio(single!, bare!, random);
  const tail = bootstrap(
    [single!, bare!],
    ([ours, theirs]) => quantile(ours!, 0.99) / quantile(theirs!, 0.99),
    random,
  );
  const fault = 'fault of a core on 4 KiB over bare copy and mapAsync';
  const limit = limitOf(
    'the bare operation for a thread blocked on it, over bare',
    { over: blocked!, under: bare!, ours: single!, least: blocked! },
    random,
  );
  ctx.goals.push({
    id: 'G8',
    parts: [
      withLimit(judge(fault, middle, '<=', MAX_OVER_BARE), limit),
      judge('its p99 over the p99 of the bare operation', tail, '<=', MAX_TAIL),
    ],
  });
  const wider = pairedRatio(window!, single!, random);
  const gain = pairedRatio(sweeps[0]!.samples, sweeps[1]!.samples, random);
  ctx.goals.push({
    id: 'G9',
    parts: [
      judge('fault on 64 KiB over one on 4 KiB', wider, '<=', MAX_WINDOW),
      judge('first touch of 2 MiB by 4 KiB over one with fault-around', gain, '>=', MIN_SWEEP_GAIN),
    ],
  });
}

async function measureHops(ctx: RunContext): Promise<void> {
  if (ctx.askMain === null) return ctx.omit('fault/hop', 'there is no main thread to ask');
  const rounds = ctx.plan.fault.hops;
  const echoWorker = startWorker();
  const process = await ctx.machine.spawn();
  const core = await BenchCore.start(ctx, process);
  try {
    const length = (rounds + WARMUPS) * CHAIN * PAGE_SIZE;
    const old = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const untouched = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    // Not by the core, whose TLB would know them.
    await process.write(old, new Uint8Array(length).fill(1));
    await process.clearRefs(CLEAR_REFS_ALL);
    const echo = questionWords();
    const main = questionWords();
    const loop = questionWords();
    const closeLoop = answerByLoop(loop);
    echoWorker.postMessage({ kind: 'echo', words: echo });
    const port = ctx.askMain(() => {
      Atomics.store(main, 1, Atomics.load(main, 0));
      Atomics.notify(main, 1);
    });
    const times = await core.hops({
      kind: 'hops',
      old,
      untouched,
      rounds: rounds + WARMUPS,
      chain: CHAIN,
      echo,
      loop,
      main,
      port,
    });
    closeLoop();
    reportHops(ctx, times);
  } finally {
    core.end();
    echoWorker.terminate();
    await process.exit();
  }
}

const HOP_NAMES = {
  trap: 'trap',
  minor: 'minor-fault',
  raw: 'atomics-round-trip',
  main: 'main-thread-round-trip',
  loop: 'event-loop-round-trip',
} as const;

function reportHops(ctx: RunContext, times: HopTimes): void {
  const kept = (hop: keyof HopTimes): number[] => {
    const samples = times[hop].slice(WARMUPS);
    const name = HOP_NAMES[hop];
    const spec = { suite: 'fault' as const, id: `fault/hop/${name}`, unit: 'us' as const };
    const params = { access: 'hop', what: name, chain: CHAIN };
    const sampled = { ...sampledOf(samples), dropped: WARMUPS, chained: CHAIN };
    ctx.addCell({ ...spec, params, bytes: 0, pages: 0 }, sampled);
    return samples;
  };
  const [trap, raw, main, loop] = [kept('trap'), kept('raw'), kept('main'), kept('loop')];
  kept('minor');
  const ratio = (over: number[], under: number[]) => pairedRatio(over, under, ctx.resampling);
  const parts: GoalPart[] = [
    judge('trap of a core over a bare Atomics round trip', ratio(trap, raw), '<=', MAX_OVER_RAW),
    judge('round trip through the main thread over a trap', ratio(main, trap), '>=', MIN_OVER_MAIN),
  ];
  const limits = [
    limitOf(
      'bare round trip to an event loop over one between two sleepers',
      { over: loop, under: raw, ours: trap, least: loop },
      ctx.resampling,
    ),
    limitOf(
      'round trip through the main thread over a bare one to an event loop',
      { over: main, under: loop, ours: trap, least: loop },
      ctx.resampling,
    ),
  ];
  ctx.goals.push({ id: 'G10', parts: parts.map((part, i) => withLimit(part, limits[i]!)) });
}
