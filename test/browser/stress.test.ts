/** The stress test for some seconds in a real browser, on WebGPU and on the CPU engine. */
import { expect, test } from 'vitest';
import { Machine } from '../../src/index.ts';
import { STRESS_MACHINE, describeFigures, isMuch, runStress } from '../stress/stress.ts';

test.for(['webgpu', 'cpu'] as const)(
  'cores, devices and the kernel lose no store and tear no word (%s)',
  { timeout: 120_000 },
  async (engine) => {
    const machine = await Machine.create({ ...STRESS_MACHINE, engine });
    const seed = Date.now() % 2 ** 32;
    const program = new URL('../fixtures/programs/stress.js', import.meta.url).href;
    try {
      const figures = await runStress(machine, { seconds: 3, seed, program, isEnough: isMuch });
      expect(isMuch(figures), describeFigures(figures)).toBe(true);
    } finally {
      await machine.close();
    }
  },
);
