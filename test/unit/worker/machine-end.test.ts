/*
 * What becomes of calls, handles and programs when the kernel panics, its thread dies, or the
 * machine is closed: everything ends, with the reason, and nothing hangs.
 */
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { bundleNodeWorker } from '../../../cli/node-worker.ts';
import { bug } from '../../../src/base/assert.ts';
import { bootMachine, Machine, MachineError } from '../../../src/index.ts';
import type { Process, WorkerFiles } from '../../../src/index.ts';

const OPTIONS = { engine: 'cpu', ramBytes: 2 ** 24, deviceBytes: 2 ** 20 } as const;
const PANIC = /kernel panic: KernelBug: I0: broken in a .*; .*create another machine/;

let workers: WorkerFiles;

beforeAll(async () => {
  workers = {
    kernel: await bundleNodeWorker('test/unit/worker/broken-kernel-worker.ts'),
    core: await bundleNodeWorker('src/worker/core-worker-node.ts'),
  };
});

const thrown = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => error,
  );

const WAYS: readonly [string, (process: Process) => Promise<void>, RegExp, string][] = [
  ['a broken invariant in a call', (process) => process.oomReap(), PANIC, 'panic'],
  ['a broken invariant outside of calls', (process) => process.poison(0), PANIC, 'panic'],
  ['a thread that ends', (process) => process.clearRefs(1), /died: its thread ended.*7/, 'died'],
];

test.for(WAYS)('%s ends the machine', async ([, breakIt, message, reason]) => {
  const machine = await Machine.create({ ...OPTIONS, workers });
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const url = new URL('../../fixtures/programs/wait.js', import.meta.url);
  const started: Promise<unknown>[] = [];
  const running = await new Promise<Awaited<ReturnType<Process['run']>>>((resolve) => {
    const program = process.run(url, null, { onOutput: () => void program.then(resolve) });
    started.push(program);
  });
  // One call waits; another breaks the kernel; later ones find it gone.
  const waiting = thrown(process.smaps());
  for (const error of [await thrown(breakIt(process)), await waiting]) {
    expect(error).toBeInstanceOf(MachineError);
    expect(error).toMatchObject({ reason });
    expect(String(error)).toMatch(message);
  }
  expect(machine.isOver).toBe(true);
  for (const call of [machine.spawn(), machine.counters(), process.run(url), device.close()]) {
    expect(String(await thrown(call))).toMatch(message);
  }
  const exit = await running.exited;
  expect(exit).toMatchObject({ status: -1, signal: 'SIGKILL' });
  expect(exit.message).toMatch(message);
  // Its memory is still there to look at, and the end of a scope says nothing more.
  expect(machine.vmstat.read('pgfault')).toBeGreaterThan(0);
  await device[Symbol.asyncDispose]();
  await process[Symbol.asyncDispose]();
  await machine.close();
});

test('a kernel worker that can not be loaded is a machine that died', async () => {
  const files = { ...workers, kernel: new URL('nothing.mjs', import.meta.url) };
  const error = await thrown(Machine.create({ ...OPTIONS, workers: files }));
  expect(error).toBeInstanceOf(MachineError);
  expect(String(error)).toMatch(/the kernel worker died: .*nothing.mjs/);
});

test('in the calling thread, a broken invariant ends the machine, too', async () => {
  const machine = await bootMachine(OPTIONS);
  const process = await machine.spawn();
  vi.spyOn(machine.kernel.sys.pageAllocator, 'freePages', 'get').mockImplementation(() =>
    bug('I0: broken in a getter'),
  );
  expect(String(await thrown(machine.counters()))).toMatch(PANIC);
  expect(await thrown(process.mmap({ length: 4096, prot: 3 }))).toBeInstanceOf(MachineError);
  await machine.close();
});

describe('a machine that is closed', () => {
  test('refuses calls, and handles of it go quietly', async () => {
    const machine = await openNodeMachine(OPTIONS, () => undefined);
    {
      await using process = await machine.spawn();
      await using device = await process.openDevice(0);
      const addr = await process.mmap({ length: 4096, prot: 3 });
      await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
      expect(machine.isOver).toBe(false);
      await machine.close();
      expect(machine.isOver).toBe(true);
      expect(String(await thrown(process.read(addr, 1)))).toMatch(/the machine is closed/);
    }
    await machine.close();
  });

  test('had its handles disposed of once, however they went', async () => {
    await using machine = await bootMachine(OPTIONS);
    await using process = await machine.spawn();
    await using device = await process.openDevice(0);
    await device.close();
    await process.exit();
    expect(await thrown(device.close())).toMatchObject({ code: 'EBADF' });
    expect(await thrown(process.exit())).toMatchObject({ code: 'ESRCH' });
  });
});

test('one whose kernel a policy keeps for good is killed, and others go on', async () => {
  const machine = await openNodeMachine(OPTIONS, () => undefined);
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const addr = await process.mmap({ length: 2 ** 16, prot: 3 });
  const kernel = await device.compileKernel({ shape: 'increment', window: 4 });
  const code = 'export const policy = { onFaults() { for (;;); }, chooseVictims() {} };';
  const policy = `data:text/javascript,${encodeURIComponent(code)}`;
  const { report } = device.startLaunch(kernel, { workgroups: 4, args: [addr], policy });
  const unanswered = thrown(process.pageMap(addr, 16));
  const patience = new Promise((resolve) => setTimeout(() => resolve('no answer'), 500));
  expect(await Promise.race([thrown(report), patience])).toBe('no answer');
  machine.kill('no answer for half a second');
  for (const error of [await thrown(report), await thrown(machine.spawn())]) {
    expect(error).toBeInstanceOf(MachineError);
    expect(String(error)).toMatch(/the machine is closed: no answer for half a second/);
  }
  await unanswered;
  expect(machine.isOver).toBe(true);
  machine.kill();
  await machine.close();
  await using other = await openNodeMachine(OPTIONS, () => undefined);
  await other.spawn();
});

test('counters are live: a page sees them without asking', async () => {
  await using machine = await openNodeMachine(OPTIONS, () => undefined);
  const process = await machine.spawn();
  const addr = await process.mmap({ length: 8192, prot: 3 });
  const before = machine.vmstat.read('pgfault');
  await process.touch(addr, 'write');
  expect(machine.vmstat.read('pgfault')).toBe(before + 1);
  expect(machine.vmstat.values.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect(machine.vmstat.snapshot()).toEqual((await machine.counters()).vm);
});
