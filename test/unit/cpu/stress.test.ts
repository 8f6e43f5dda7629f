/* The stress test for some seconds, on the CPU engine; `npm run stress` runs it for longer. */
import { expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { STRESS_MACHINE, describeFigures, isMuch, runStress } from '../../stress/stress.ts';

test('cores, devices and the kernel lose no store and tear no word', async () => {
  const machine = await openNodeMachine({ ...STRESS_MACHINE, engine: 'cpu' }, () => undefined);
  const seed = Date.now() % 2 ** 32;
  const program = new URL('../../fixtures/programs/stress.js', import.meta.url).href;
  try {
    const figures = await runStress(machine, { seconds: 4, seed, program, isEnough: isMuch });
    expect(isMuch(figures), describeFigures(figures)).toBe(true);
  } finally {
    await machine.close();
  }
}, 120_000);
