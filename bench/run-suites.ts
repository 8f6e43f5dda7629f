/**
 * Runs the suites in this thread, on one machine that is booted for the run. Short suites come
 * first; the comparisons behind the goals have time boxes of their own and come last, so that they
 * never take the copy cells' time. The copy suite takes frames behind the back of the machine's
 * allocators, so no process is alive while it runs.
 */
import { OpenError, Prng, bootMachine } from '../src/index.ts';
import type { LocalMachine } from '../src/index.ts';
import { detectTickUs } from './clock.ts';
import { describeEnvironment } from './environment.ts';
import { goalRows } from './goals.ts';
import { nodeHeap } from './heap.ts';
import type { HeapReader } from './heap.ts';
import { isSwept, planRun } from './plan.ts';
import type { BenchPlan } from './plan.ts';
import { presetTable } from './presets.ts';
import { RawGpu } from './raw-gpu.ts';
import { RunContext } from './run-context.ts';
import type { AskMain } from './run-context.ts';
import { listSteps, suitesOf } from './run-steps.ts';
import type { Step } from './run-steps.ts';
import { BENCH_SCHEMA } from './types.ts';
import type { BenchOptions, BenchProgress, BenchReport } from './types.ts';

/** How long a failure waits for the news that the device was lost. */
const LOSS_GRACE_MS = 500;

/**
 * Runs what the options ask for. Same contract as runBench().
 */
export function runSuites(
  options: BenchOptions,
  onProgress: (progress: BenchProgress) => void = () => {},
  signal?: AbortSignal,
  heap: HeapReader | null = nodeHeap(),
  askMain: AskMain | null = null,
): Promise<BenchReport> {
  return runPlan(planRun(options), onProgress, signal, heap, askMain);
}

/**
 * Runs a plan, which tests make smaller than any option does.
 *
 * @param heap Reads this thread's heap; by default as Node does, or not at all.
 * @throws Error with one line for people when the machine can't be opened
 */
export async function runPlan(
  plan: BenchPlan,
  onProgress: (progress: BenchProgress) => void = () => {},
  signal?: AbortSignal,
  heap: HeapReader | null = nodeHeap(),
  askMain: AskMain | null = null,
): Promise<BenchReport> {
  const startedAt = new Date().toISOString();
  const begun = performance.now();
  onProgress({ suite: 'boot', note: 'opening the machine', done: 0, total: 1 });
  const machine = await openOrExplain(plan);
  const raw = plan.engine === 'webgpu' ? await RawGpu.open(plan.powerPreference) : null;
  try {
    const ctx = createContext({ plan, machine, signal, heap, askMain }, onProgress);
    const timestampTickNs = (await raw?.timestampTickNs()) ?? null;
    const steps = chosenSteps(ctx, raw);
    const lost = await runAll(ctx, steps);
    const { adapter } = machine.report;
    const ran = suitesOf(steps, plan.suites);
    const env = describeEnvironment(plan, ran, adapter, ctx.tickUs, timestampTickNs, startedAt);
    return {
      schema: BENCH_SCHEMA,
      commit: null,
      env: lost === null ? env : { ...env, deviceLost: lost },
      wallSeconds: Math.round(performance.now() - begun) / 1000,
      cells: ctx.cells,
      omitted: ctx.omitted,
      goals: goalRows(ctx.goals, plan.suites, plan.engine, (id) => ctx.wants(id)),
      ...(plan.preset === null ? {} : { presets: [presetTable(plan.preset, ctx.cells)] }),
    };
  } finally {
    raw?.close();
    await machine.close();
  }
}

async function openOrExplain(plan: BenchPlan): Promise<LocalMachine> {
  const { engine, ramBytes, deviceBytes, powerPreference, copyThreads, copyWorker } = plan;
  const power = powerPreference === undefined ? {} : { powerPreference };
  const file = copyWorker === undefined ? undefined : new URL(copyWorker);
  const threads = {
    copyThreads,
    ...(file === undefined ? {} : { workers: { kernel: file, core: file, copy: file } }),
  };
  try {
    const { ringDepth } = plan.settings;
    const sizes = { ramBytes, deviceBytes, devices: 2, coherentDevices: 0, ringDepth };
    const machine = await bootMachine({ engine, ...sizes, ...power, ...threads });
    // One thread copies, unless a comparison says otherwise.
    const { hostCopiers } = machine.kernel.engine;
    if (hostCopiers !== undefined) hostCopiers.active = 1;
    return machine;
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    throw new Error(`no machine to measure: ${error.message}`, { cause: error });
  }
}

/** How many errors the engine's device has reported; an engine without a device has none. */
function strayErrorsOf(machine: LocalMachine): () => number {
  const { deviceErrors } = machine.kernel.engine as { readonly deviceErrors?: readonly string[] };
  return () => deviceErrors?.length ?? 0;
}

function createContext(
  given: Pick<RunContext, 'plan' | 'machine' | 'signal' | 'heap' | 'askMain'>,
  onProgress: (progress: BenchProgress) => void,
): RunContext {
  const { plan, machine } = given;
  const { engine, sys } = machine.kernel;
  const copyMachine = { engine, ramWords: sys.ramWords, strayErrors: strayErrorsOf(machine) };
  const tickUs = detectTickUs();
  const random = new Prng(plan.seed);
  return new RunContext({ ...given, copyMachine, tickUs, random }, onProgress);
}

/** The parts that the plan asks for. */
function chosenSteps(ctx: RunContext, raw: RawGpu | null): Step[] {
  const { suites } = ctx.plan;
  return listSteps(ctx, raw).filter(
    ({ suite, goals }) =>
      suites.some((name) => suite.includes(name)) &&
      (goals.length === 0 ? isSwept(ctx.plan) : goals.some((id) => ctx.wants(id))),
  );
}

/** Runs these. Answers why the device was lost, which ends them early; null when it was not. */
async function runAll(ctx: RunContext, steps: readonly Step[]): Promise<string | null> {
  ctx.expect(steps.reduce((sum, step) => sum + step.cells, 0));
  try {
    for (const step of steps) await step.run();
    return null;
  } catch (error) {
    if (ctx.signal?.aborted === true) throw error;
    const lost = await lossOf(ctx);
    if (lost === null) throw error;
    ctx.omit('all that was left', `the device was lost: ${lost}`);
    return lost;
  }
}

/** Why the device was lost; null when it was not. The news may come after what it made fail. */
function lossOf({ copyMachine }: RunContext): Promise<string | null> {
  const late = new Promise<null>((resolve) => {
    setTimeout(() => resolve(null), LOSS_GRACE_MS);
  });
  return Promise.race([copyMachine.engine.lost, late]);
}
