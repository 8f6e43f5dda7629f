/** The whole path in a real browser: page, kernel worker, adapter. */
import { expect, test } from 'vitest';
import { Machine, OpenError } from '../../src/index.ts';
import { checkFirstPages } from '../fixtures/first-page.ts';

const MIB = 2 ** 20;

test.for([1, 600])('%i pages go to the device, change there and fault home', async (npages) => {
  const machine = await Machine.create({ ramBytes: 16 * MIB, deviceBytes: 8 * MIB });
  expect(machine.report.engine).toBe('webgpu');
  await checkFirstPages(machine, npages);
});

test('the CPU engine runs the same path without an adapter', async () => {
  const machine = await Machine.create({ engine: 'cpu', ramBytes: 16 * MIB, deviceBytes: 8 * MIB });
  expect(machine.report.engine).toBe('cpu');
  await checkFirstPages(machine, 5);
});

test('bad sizes are refused with cause and remedy', async () => {
  const error = await Machine.create({ ramBytes: -1 }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(OpenError);
  expect(error).toMatchObject({ reason: 'RAM of -1 bytes', remedy: 'give 1 MiB to 4 GiB' });
});
