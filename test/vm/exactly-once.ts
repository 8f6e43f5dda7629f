/*
 * The property of exactly-once: random kernels under random hosts leave the memory that a run
 * without faults leaves. A failure prints the seed that repeats it.
 */
import { Prng } from '../../src/base/prng.ts';
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
}

/** What was tried. */
export interface Outcome {
  readonly kernels: number;
  readonly runs: number;
  /** Runs in which workgroups were dispatched again in three or more passes. */
  readonly hard: number;
  readonly forced: number;
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

/** Tries kernels until something is wrong. */
export async function tryKernels(engine: VmEngine, effort: Effort): Promise<Outcome> {
  const families = effort.families ?? FAMILIES;
  let [kernels, runs, hard, forced] = [0, 0, 0, 0];
  for (; kernels < effort.kernels; kernels++) {
    const seed = effort.seed + kernels;
    const prng = new Prng(seed);
    const one = randomCase(prng, families[kernels % families.length]!, BASE);
    const wanted = oracleOf(one);
    const logWords = prng.chance(0.3) ? 4 : 64;
    const alwaysLog = prng.chance(0.3);
    const program = await compileCase(engine, one, { logWords, alwaysLog, ...effort.options });
    for (let run = 0; run < effort.runsEach; run++) {
      const forces = prng.chance(0.5);
      const at = forces ? prng.below(24) : undefined;
      const { problem, report } = await runAgainst(prng, engine, program, one, wanted, at);
      runs += 1;
      if (forces) forced += 1;
      if (report.passes > 3) hard += 1;
      if (problem !== '') {
        const where = `seed ${seed}, kernel ${kernels}, run ${run} (${runs} runs in all)`;
        const text = `${where}: ${problem}\n${JSON.stringify(report)}\n${one.kernel.wgsl}`;
        return { kernels: kernels + 1, runs, hard, forced, problem: text };
      }
    }
  }
  return { kernels, runs, hard, forced, problem: '' };
}
