/* The stress test for some seconds, on the CPU engine; `npm run stress` runs it for longer. */
import { expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { STRESS_MACHINE, runStress } from '../../stress/stress.ts';

test('cores, devices and the kernel lose no store and tear no word', async () => {
  const machine = await openNodeMachine({ ...STRESS_MACHINE, engine: 'cpu' }, () => undefined);
  const seed = Date.now() % 2 ** 32;
  const program = new URL('../../fixtures/programs/stress.js', import.meta.url).href;
  try {
    const figures = await runStress(machine, { seconds: 8, seed, program });
    expect(figures.operations).toBeGreaterThan(1e5);
    expect(figures.migrations).toBeGreaterThan(100);
    expect(Math.min(...figures.faults)).toBeGreaterThan(50);
    expect(figures.downgrades).toBeGreaterThan(10);
    expect(figures.folios).toBeGreaterThan(0);
  } finally {
    await machine.close();
  }
}, 120_000);
