/** A page goes to the GPU, is changed there, and faults home: the whole path on Dawn. */
import { expect, test } from 'vitest';
import { OpenError, bootMachine } from '../../src/index.ts';
import { checkFirstPages } from '../fixtures/first-page.ts';

const MIB = 2 ** 20;

test.for([1, 3, 600])('%i pages go to the device, change there and fault home', async (npages) => {
  const machine = await bootMachine({ ramBytes: 16 * MIB, deviceBytes: 8 * MIB });
  expect(machine.report.engine).toBe('webgpu');
  expect(machine.report.adapter.isSoftware).toBe(true);
  await checkFirstPages(machine, npages);
});

test.for(['commands', 'staging', 'runs', 'compute', 'writeBuffer'] as const)(
  'the path holds with strategy %s',
  async (strategy) => {
    const machine = await bootMachine({ ramBytes: 16 * MIB, deviceBytes: 8 * MIB, strategy });
    await checkFirstPages(machine, 20);
  },
);

test('an unknown strategy is refused with the known ones named', async () => {
  const strategy = 'teleport' as 'auto';
  const error = await bootMachine({ strategy }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenError);
  expect(String(error)).toMatch(/teleport.*commands/);
});
