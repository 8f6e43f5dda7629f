/**
 * What a run consists of, in order: sweeps of the suites, and the comparisons behind the goals.
 * Those that start processes come before those that take frames behind the allocators' back.
 */
import { COALESCE_CELLS, runCoalesceGoal } from './coalesce-goal.ts';
import { COLD_CELLS, runColdGoal } from './cold-goal.ts';
import { countCopyGoalCells, runCopyGoals } from './copy-goals.ts';
import { countCopyCells, runCopySuite } from './copy-suite.ts';
import { CORE_CELLS, runCoreSuite } from './core-suite.ts';
import { countCrossoverCells, runCrossoverGoal } from './crossover-goal.ts';
import { EARLY_CELLS, runEarlyGoals } from './early-goals.ts';
import { countEngineCells, runEngineGoals } from './engine-goals.ts';
import { FAULT_CELLS, runFaultSuite } from './fault-suite.ts';
import { countCpuCurveCells, runCpuCurve } from './first-page.ts';
import { FOLIO_CELLS, runFolioGoal } from './folio-goal.ts';
import { GPU_CELLS, runGpuGoal } from './gpu-goal.ts';
import { HARNESS_CELLS, runHarnessGoals } from './harness-goals.ts';
import { countMigrateCells, runMigrateSuite } from './migrate-suite.ts';
import { countMixCells, runMixSuite } from './mix-suite.ts';
import { MM_CELLS, runMmSuite } from './mm-suite.ts';
import { isSwept } from './plan.ts';
import { PHASE_CELLS, runPhaseSuite } from './phase-suite.ts';
import { countPresetCells, runPreset } from './preset-suite.ts';
import type { RawGpu } from './raw-gpu.ts';
import { REFERENCE_CELLS, runReferences } from './reference-suite.ts';
import { countRegretCells, runRegretGoal } from './regret-goal.ts';
import type { RunContext } from './run-context.ts';
import { SUITE_NAMES } from './types.ts';
import { SOAK_CELLS, runSoak } from './soak.ts';
import { TLB_CELLS, runTlbSuite } from './tlb-suite.ts';
import type { SuiteName } from './types.ts';

const CORE_GOALS = ['G8', 'G9', 'G10'];

/** A part of a run. */
export interface Step {
  /** It is run with any of these suites. */
  readonly suite: readonly SuiteName[];
  /** The goals that it decides; none for a sweep, which a run for single goals leaves out. */
  readonly goals: readonly string[];
  readonly cells: number;
  readonly run: () => Promise<void>;
}

/** All parts, in order; without a device those that need one are left out. */
export function listSteps(ctx: RunContext, raw: RawGpu | null): Step[] {
  const gpu = (step: (raw: RawGpu) => Step): Step[] => (raw === null ? [] : [step(raw)]);
  const { preset, soak } = ctx.plan;
  if (soak !== null) return [step(SUITE_NAMES, [], SOAK_CELLS, () => runSoak(ctx, soak))];
  if (preset !== null) {
    return [
      step(SUITE_NAMES, [], REFERENCE_CELLS, () => runReferences(ctx, raw)),
      step(SUITE_NAMES, [], countPresetCells(preset), () => runPreset(ctx, preset)),
    ];
  }
  return [...bookkeeping(ctx, raw), ...wholeMigrations(ctx, gpu), ...copies(ctx, raw, gpu)];
}

/** Of the suites that were asked for, those that these steps are of. */
export function suitesOf(steps: readonly Step[], asked: readonly SuiteName[]): SuiteName[] {
  return asked.filter((name) => steps.some(({ suite }) => suite.includes(name)));
}

type OnGpu = (step: (raw: RawGpu) => Step) => Step[];

function step(
  suite: readonly SuiteName[],
  goals: readonly string[],
  cells: number,
  run: () => Promise<void>,
): Step {
  return { suite, goals, cells, run };
}

function bookkeeping(ctx: RunContext, raw: RawGpu | null): Step[] {
  const run = (): Promise<void> => runMmSuite(ctx, raw);
  return [step(['mm'], isSwept(ctx.plan) ? [] : ['G11', 'G12'], MM_CELLS, run)];
}

function wholeMigrations(ctx: RunContext, gpu: OnGpu): Step[] {
  return [
    step(['migrate'], [], countMigrateCells(ctx), () => runMigrateSuite(ctx)),
    step(['migrate'], [], PHASE_CELLS, () => runPhaseSuite(ctx)),
    step(['migrate'], ['G7'], EARLY_CELLS, () => runEarlyGoals(ctx)),
    ...gpu((raw) => step(['migrate'], ['G13'], FOLIO_CELLS, () => runFolioGoal(ctx, raw))),
    ...gpu((raw) => step(['migrate'], ['G14'], COLD_CELLS, () => runColdGoal(ctx, raw))),
    step(['fault'], [], FAULT_CELLS, () => runFaultSuite(ctx)),
    step(['fault'], ['TLB'], TLB_CELLS, () => runTlbSuite(ctx)),
    ...gpu((raw) => step(['fault'], CORE_GOALS, CORE_CELLS, () => runCoreSuite(ctx, raw))),
  ];
}

function copies(ctx: RunContext, raw: RawGpu | null, gpu: OnGpu): Step[] {
  const any: SuiteName[] = ['migrate', 'fault', 'copy'];
  const copyGoals = ['G3', 'G4', 'G5', 'G6'];
  return [
    step(any, [], REFERENCE_CELLS, () => runReferences(ctx, raw)),
    // Beside migrations by batch, and beside faults.
    step(['migrate', 'fault'], [], countCpuCurveCells(ctx), () => runCpuCurve(ctx)),
    step(['copy'], [], countCopyCells(ctx), () => runCopySuite(ctx)),
    step(['copy'], [], countMixCells(ctx), () => runMixSuite(ctx)),
    ...gpu((own) =>
      step(['copy'], copyGoals, countCopyGoalCells(ctx), () => runCopyGoals(ctx, own)),
    ),
    ...gpu(() => step(['copy'], ['G2'], COALESCE_CELLS, () => runCoalesceGoal(ctx))),
    ...gpu((own) =>
      step(['copy'], ['G15', 'G17'], countEngineCells(ctx), () => runEngineGoals(ctx, own)),
    ),
    ...gpu((own) => step(['copy'], ['G16'], GPU_CELLS, () => runGpuGoal(ctx, own))),
    step(['copy'], ['G20'], countCrossoverCells(ctx), () => runCrossoverGoal(ctx)),
    step(['copy'], ['G18', 'G19'], HARNESS_CELLS, () => runHarnessGoals(ctx)),
    step(['copy'], ['G1'], countRegretCells(ctx), () => runRegretGoal(ctx)),
  ];
}
