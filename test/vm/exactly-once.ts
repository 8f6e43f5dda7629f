/*
 * The property of exactly-once: random kernels under random hosts leave the memory that a run
 * without faults leaves. A failure prints the seed that repeats it.
 */
import { Prng } from '../../src/base/prng.ts';
import { CHECK_WORDS, STATE_WORDS } from '../../src/engine/vm/abi.ts';
import type { VmEngine, VmProgram, VmProgramOptions } from '../../src/engine/vm/vm-engine.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { runAgainst } from './adversary.ts';
import { oracleOf } from './oracle.ts';
import type { Family } from './random-kernel.ts';
import { FAMILIES, randomCase } from './random-kernel.ts';

/** How much to try. */
export interface Effort {
  readonly kernels: number;
  readonly runsEach: number;
  /** The first kernel's seed; the others follow. */
  readonly seed: number;
  readonly options?: Partial<VmProgramOptions>;
  readonly families?: readonly Family[];
  /** Share of the kernels that have checkpoints, 0 to 1; default: that of the families. */
  readonly checkpoints?: number;
}

/** What was tried. */
export interface Outcome {
  readonly kernels: number;
  readonly runs: number;
  /** Runs in which workgroups were dispatched again in three or more passes. */
  readonly hard: number;
  readonly forced: number;
  /** Runs of kernels with checkpoints, and runs in which logs outgrew their room. */
  readonly checkpoints: number;
  readonly shrunk: number;
  /** The first thing that went wrong, with its seed; '' for nothing. */
  readonly problem: string;
}

const BASE = 0x4000_0000 - 3 * 4096;

/** Compiles a case with the debug checks on. */
export async function compileCase(
  engine: VmEngine,
  one: VmCase,
  options: Partial<VmProgramOptions> = {},
): Promise<VmProgram> {
  const program = await engine.compile(one.kernel, {
    slots: one.workgroups,
    hash: true,
    forceFaults: true,
    ...options,
  });
  if ('problems' in program) {
    throw new Error(`${JSON.stringify(program.problems)}\n${one.kernel.wgsl}`);
  }
  return program;
}

/**
 * The share of kernels with checkpoints that WEBHMM_VM_CHECKPOINTS asks for, in per cent.
 *
 * @param isLong whether more is tried than by default: then two of five have them, else one
 */
export function checkpointShare(isLong: boolean): number {
  const percent = Number(process.env['WEBHMM_VM_CHECKPOINTS'] ?? (isLong ? 40 : 20));
  if (!(percent >= 0 && percent <= 100)) throw new Error('WEBHMM_VM_CHECKPOINTS is 0 to 100');
  return percent / 100;
}

/** The family of a seed, so that the seed alone repeats a kernel. */
function familyOf(seed: number, { families = FAMILIES, checkpoints }: Effort): Family {
  if (checkpoints === undefined) return families[seed % families.length]!;
  const before = Math.floor(seed * checkpoints);
  if (Math.floor((seed + 1) * checkpoints) > before) return 'checkpoints';
  const others = families.filter((family) => family !== 'checkpoints');
  return others[(seed - before) % others.length]!;
}

/** Most words that one invocation of a random kernel logs are fewer than this. */
const MOST_LOGGED = 40;

/** Room for the states of all workgroups, and for few of their logs once these have grown. */
function tightRoom({ workgroups, kernel: { lanes } }: VmCase): number {
  const states = workgroups * (1 + lanes * (STATE_WORDS + CHECK_WORDS));
  return 4 * (states + lanes * MOST_LOGGED);
}

/** Tries kernels until something is wrong. */
export async function tryKernels(engine: VmEngine, effort: Effort): Promise<Outcome> {
  let [kernels, runs, hard, forced, checkpoints, shrunk] = [0, 0, 0, 0, 0, 0];
  for (; kernels < effort.kernels; kernels++) {
    const seed = effort.seed + kernels;
    const prng = new Prng(seed);
    const family = familyOf(seed, effort);
    const one = randomCase(prng, family, BASE);
    const wanted = oracleOf(one);
    const logWords = prng.chance(0.3) ? 4 : 64;
    const alwaysLog = prng.chance(0.3);
    const room = prng.chance(0.4) ? { logWords: 4, memoBytes: tightRoom(one) } : {};
    const options = { logWords, alwaysLog, ...room, ...effort.options };
    const program = await compileCase(engine, one, options);
    for (let run = 0; run < effort.runsEach; run++) {
      const forces = prng.chance(0.5);
      const at = forces ? prng.below(24) : undefined;
      const result = await runAgainst(prng, engine, program, one, wanted, at);
      const { problem, report } = result;
      runs += 1;
      if (forces) forced += 1;
      if (report.passes > 3) hard += 1;
      if (family === 'checkpoints') checkpoints += 1;
      if (result.shrunk) shrunk += 1;
      if (problem !== '') {
        const where = `seed ${seed}, kernel ${kernels}, run ${run} (${runs} runs in all)`;
        const text = `${where}: ${problem}\n${JSON.stringify(report)}\n${one.kernel.wgsl}`;
        return { kernels: kernels + 1, runs, hard, forced, checkpoints, shrunk, problem: text };
      }
    }
  }
  return { kernels, runs, hard, forced, checkpoints, shrunk, problem: '' };
}
