/*
 * Exactly-once on WebGPU: random kernels, and every shape with a fault at each access position.
 *
 * WEBHMM_VM_GPU_KERNELS=300 tries that many kernels, WEBHMM_VM_SEED=n begins with that seed,
 * WEBHMM_VM_CHECKPOINTS=p has p per cent of them use checkpoints.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import { openForTest } from '../contract/vm-gpu-harness.ts';
import { runAgainst } from '../vm/adversary.ts';
import { checkpointShare, compileCase, tryKernels } from '../vm/exactly-once.ts';
import { oracleOf } from '../vm/oracle.ts';

const DEFAULT_KERNELS = 6;
const KERNELS = Number(process.env['WEBHMM_VM_GPU_KERNELS'] ?? DEFAULT_KERNELS);
const CHECKPOINTS = checkpointShare(KERNELS > DEFAULT_KERNELS);
const SEED = Number(process.env['WEBHMM_VM_SEED'] ?? 1121);

describe('exactly once', () => {
  let device: GPUDevice;
  let engine: GpuVmEngine;
  beforeAll(async () => {
    ({ device } = await openForTest());
    engine = new GpuVmEngine(device, 32);
  });
  afterAll(() => {
    engine.destroy();
    device.destroy();
  });

  it(
    `${KERNELS} random kernels from seed ${SEED}`,
    { timeout: 120_000 + KERNELS * 20_000 },
    async () => {
      const effort = { kernels: KERNELS, runsEach: 6, seed: SEED, checkpoints: CHECKPOINTS };
      const outcome = await tryKernels(engine, effort);
      expect(outcome.problem).toBe('');
      expect(outcome.hard / outcome.runs).toBeGreaterThan(0.5);
      process.stderr.write(`exactly once: ${JSON.stringify(outcome)}\n`);
    },
  );

  it('it fails within 100 runs when stopped invocations start again', async () => {
    const options = { guard: 'none' } as const;
    const effort = { kernels: 25, runsEach: 4, seed: 5, options };
    const { problem } = await tryKernels(engine, effort);
    expect(problem).not.toBe('');
  });

  it('every shape, with a fault at some access positions', { timeout: 240_000 }, async () => {
    for (const name of SHAPE_NAMES) {
      const one = shapeCase(name, 2, 0x4000_0000 - 4096, 1);
      const wanted = oracleOf(one);
      const program = await compileCase(engine, one);
      for (const at of [0, 1, 2, 3, 5, 8]) {
        const { problem } = await runAgainst(new Prng(at), engine, program, one, wanted, at);
        expect(problem, `${name}, position ${at}`).toBe('');
      }
    }
  });
});
