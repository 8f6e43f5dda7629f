/*
 * Cores in threads and kernels at the same pages, on the CPU engine in Node.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { openNodeMachine } from '../../cli/node-machine.ts';
import type { Machine } from '../../src/index.ts';
import { countTogether } from './launch-cores-contract.ts';

const entry = new URL('../fixtures/programs/count-beside.js', import.meta.url).href;

describe('cores and kernels at the same pages', () => {
  let machine: Machine;
  beforeAll(async () => {
    const sizes = { ramBytes: 2 ** 24, deviceBytes: 2 ** 20 };
    machine = await openNodeMachine({ engine: 'cpu', ...sizes }, () => undefined);
  });
  afterAll(() => machine.close());

  test('M6: cores and a kernel count in the same words, nothing is lost', async () => {
    await countTogether(machine, entry, { cores: 2, laps: 400 });
  }, 120_000);

  test('cores and a kernel count in memory that stays in RAM, nothing is lost', async () => {
    await countTogether(machine, entry, { cores: 2, laps: 400, isShared: true });
  }, 120_000);

  test('M3: 8 cores beside kernels under a policy get on, and so do the kernels', async () => {
    await countTogether(machine, entry, { cores: 8, laps: 50, policy: 'uvm' });
  }, 120_000);
});
