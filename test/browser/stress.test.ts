/** The stress test for some seconds in a real browser, on WebGPU and on the CPU engine. */
import { expect, test } from 'vitest';
import { Machine } from '../../src/index.ts';
import { STRESS_MACHINE, runStress } from '../stress/stress.ts';

test.for(['webgpu', 'cpu'] as const)(
  'cores, devices and the kernel lose no store and tear no word (%s)',
  { timeout: 120_000 },
  async (engine) => {
    const machine = await Machine.create({ ...STRESS_MACHINE, engine });
    const seed = Date.now() % 2 ** 32;
    const program = new URL('../fixtures/programs/stress.js', import.meta.url).href;
    try {
      const figures = await runStress(machine, { seconds: 6, seed, program });
      expect(figures.operations).toBeGreaterThan(1e5);
      expect(figures.migrations).toBeGreaterThan(100);
      expect(Math.min(...figures.faults)).toBeGreaterThan(50);
      expect(figures.downgrades).toBeGreaterThan(10);
      expect(figures.folios).toBeGreaterThan(0);
    } finally {
      await machine.close();
    }
  },
);
