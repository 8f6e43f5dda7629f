/*
 * Cores in threads and kernels at the same pages, in Chromium: device memory is behind WebGPU.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Machine } from '../../src/index.ts';
import { countTogether } from '../contract/launch-cores-contract.ts';

const entry = new URL('../fixtures/programs/count-beside.js', import.meta.url).href;

describe('cores and kernels at the same pages, in a browser', () => {
  let machine: Machine;
  beforeAll(async () => {
    machine = await Machine.create({ ramBytes: 2 ** 24, deviceBytes: 2 ** 20, devices: 1 });
  });
  afterAll(() => machine.close());

  test('M6: cores and a kernel count in the same words, nothing is lost', async () => {
    await countTogether(machine, entry, { cores: 2, laps: 40 });
  });

  test('cores and a kernel count in memory that stays in RAM, nothing is lost', async () => {
    await countTogether(machine, entry, { cores: 2, laps: 40, isShared: true });
  });

  test('M3: 8 cores beside kernels under a policy get on, and so do the kernels', async () => {
    await countTogether(machine, entry, { cores: 8, laps: 10, policy: 'uvm' });
  });
});
