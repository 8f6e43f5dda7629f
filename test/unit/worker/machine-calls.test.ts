/** Calls of the facade: they end with the kernel, and nothing keeps their results afterwards. */
import { expect, test, vi } from 'vitest';
import { bootMachine } from '../../../src/index.ts';
import { Machine } from '../../../src/worker/machine.ts';
import type { KernelLink } from '../../../src/worker/machine.ts';

interface Doomed {
  readonly machine: Machine;
  readonly kill: (reason: Error) => void;
}

/** A machine whose kernel can be made to die. */
async function makeDoomed(): Promise<Doomed> {
  const { kernel, report } = await bootMachine({ engine: 'cpu', ramBytes: 2 ** 20, devices: 1 });
  let kill: (reason: Error) => void = () => undefined;
  const died = new Promise<never>((_resolve, reject) => (kill = reject));
  const vmstat = kernel.liveCounters();
  const faultLatency = kernel.liveFaultLatency();
  const dispose = (): void => undefined;
  const link: KernelLink = { api: kernel, died, dispose, vmstat, faultLatency };
  return { machine: new Machine(link, report), kill };
}

test('a call that the kernel never answers is rejected when the kernel dies', async () => {
  const { machine, kill } = await makeDoomed();
  const call = machine.call(new Promise<number>(() => undefined));
  kill(new Error('the kernel died'));
  await expect(call).rejects.toThrow('the kernel died');
});

test('a call to a kernel that is dead is rejected', async () => {
  const { machine, kill } = await makeDoomed();
  kill(new Error('the kernel died'));
  await Promise.resolve();
  await expect(machine.call(new Promise<number>(() => undefined))).rejects.toThrow(/died/);
});

test('a call that is answered keeps its answer when the kernel dies later', async () => {
  const { machine, kill } = await makeDoomed();
  const call = machine.call(Promise.resolve(7));
  expect(await call).toBe(7);
  kill(new Error('the kernel died'));
  expect(await call).toBe(7);
});

test('a call that fails passes the failure on', async () => {
  const { machine } = await makeDoomed();
  await expect(machine.call(Promise.reject(new Error('no')))).rejects.toThrow('no');
});

test('a call waits for the death of the kernel once a machine, not once a call', async () => {
  const { kernel, report } = await bootMachine({ engine: 'cpu', ramBytes: 2 ** 20, devices: 1 });
  const died = new Promise<never>(() => undefined);
  // Each reaction to a promise that never settles is kept for good, with all that it can reach.
  const waits = vi.spyOn(died, 'then');
  const vmstat = kernel.liveCounters();
  const faultLatency = kernel.liveFaultLatency();
  const dispose = (): void => undefined;
  const machine = new Machine({ api: kernel, died, dispose, vmstat, faultLatency }, report);
  for (let i = 0; i < 10; i++) await machine.counters();
  expect(waits).toHaveBeenCalledTimes(1);
});
