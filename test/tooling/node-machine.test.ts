/**
 * The kernel in a worker thread of Node: the CPU engine and Dawn, and what becomes of a worker that
 * dies.
 */
import { expect, test } from 'vitest';
import { openNodeMachine } from '../../cli/node-machine.ts';
import { checkFirstPages } from '../fixtures/first-page.ts';

const MIB = 2 ** 20;
const quiet = (): void => undefined;

test('the whole path runs in a worker thread on the CPU engine', async () => {
  const options = { engine: 'cpu', ramBytes: 16 * MIB, deviceBytes: 8 * MIB } as const;
  const machine = await openNodeMachine(options, quiet);
  expect(machine.report.engine).toBe('cpu');
  await checkFirstPages(machine, 40);
});

test('a machine that cannot be built ends its worker and says why', async () => {
  const opening = openNodeMachine({ engine: 'cpu', devices: 9 }, quiet);
  await expect(opening).rejects.toThrow('9 devices; give 1 to 4');
});
