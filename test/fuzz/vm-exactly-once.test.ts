/*
 * Exactly-once on the CPU engine, whose order of invocations is drawn from the seed too.
 *
 * WEBHMM_VM_RUNS=20000 tries that many runs, WEBHMM_VM_SEED=n begins with that seed,
 * WEBHMM_VM_CHECKPOINTS=p has p per cent of the kernels use checkpoints.
 */
import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { CpuVmEngine } from '../../src/engine/vm/cpu-vm.ts';
import { SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import { runAgainst } from '../vm/adversary.ts';
import { checkpointShare, compileCase, tryKernels } from '../vm/exactly-once.ts';
import { oracleOf } from '../vm/oracle.ts';
import { FAMILIES } from '../vm/random-kernel.ts';

const DEFAULT_RUNS = 400;
const RUNS = Number(process.env['WEBHMM_VM_RUNS'] ?? DEFAULT_RUNS);
const CHECKPOINTS = checkpointShare(RUNS > DEFAULT_RUNS);
const SEED = Number(process.env['WEBHMM_VM_SEED'] ?? 20_261_121);
const RUNS_EACH = 20;

describe('exactly once', () => {
  it(
    `random kernels, ${RUNS} runs from seed ${SEED}`,
    { timeout: 30_000 + RUNS * 60 },
    async () => {
      const engine = new CpuVmEngine(16, SEED);
      const kernels = Math.ceil(RUNS / RUNS_EACH);
      const effort = { kernels, runsEach: RUNS_EACH, seed: SEED, checkpoints: CHECKPOINTS };
      const outcome = await tryKernels(engine, effort);
      expect(outcome.problem).toBe('');
      expect(outcome.runs).toBe(kernels * RUNS_EACH);
      // Otherwise the runs were too easy to say anything.
      expect(outcome.hard / outcome.runs).toBeGreaterThan(0.5);
      process.stderr.write(`exactly once: ${JSON.stringify(outcome)}\n`);
    },
  );

  it('each family fails within 100 runs when stopped invocations start again', async () => {
    for (const family of FAMILIES) {
      const engine = new CpuVmEngine(16, 3);
      const options = { guard: 'none' } as const;
      const effort = { kernels: 25, runsEach: 4, seed: 5, families: [family], options };
      const { problem, runs } = await tryKernels(engine, effort);
      expect(problem, family).not.toBe('');
      expect(runs).toBeLessThan(100);
    }
  });

  for (const name of SHAPE_NAMES) {
    it(`${name}: with a fault at each access position`, async () => {
      const engine = new CpuVmEngine(32, 9);
      const one = shapeCase(name, 2, 0x4000_0000 - 4096, 1);
      const wanted = oracleOf(one);
      const program = await compileCase(engine, one);
      for (let at = 0; at < 30; at++) {
        const { problem } = await runAgainst(new Prng(at), engine, program, one, wanted, at);
        expect(problem, `position ${at}`).toBe('');
      }
    });
  }
});
