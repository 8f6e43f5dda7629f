/** Faults of cores in a real browser, on device memory behind WebGPU. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Machine } from '../../src/index.ts';
import { oneMigrationEach } from '../unit/cpu/one-migration.ts';

const entry = new URL('../fixtures/programs/one-page.js', import.meta.url).href;

describe('faults of cores in a browser', () => {
  let machine: Machine;

  beforeAll(async () => {
    machine = await Machine.create({ ramBytes: 2 ** 24, deviceBytes: 2 ** 22, devices: 1 });
  });

  afterAll(() => machine.close());

  test('M3: 8 cores that fault on one device page cause exactly one migration', async () => {
    const before = machine.vmstat.read('migration_entry_wait');
    const waits = (): number => machine.vmstat.read('migration_entry_wait') - before;
    // The others waited for the one that brought it: those that were there in time.
    for (let run = 0; run < 10 && waits() === 0; run++) {
      await oneMigrationEach(machine, entry, { cores: 8, rounds: 5 });
    }
    expect(waits()).toBeGreaterThan(0);
    expect(machine.faultLatency.read('major').count).toBeGreaterThanOrEqual(5);
  });
});
