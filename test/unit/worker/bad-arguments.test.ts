/*
 * What callers without types give to the facade: every call rejects with an exception that has an
 * errno; none throws before it returns, and none leaves an exception behind that nobody can catch.
 */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { ErrnoError, OpenError, bootMachine } from '../../../src/index.ts';
import type { LocalMachine } from '../../../src/worker/machine.ts';
import type { DeviceKernel } from '../../../src/worker/device-kernel.ts';
import type { Process } from '../../../src/worker/process.ts';
import type { TestDevice } from '../../../src/worker/test-device.ts';

const MIB = 2 ** 20;
/** What has no type that anything takes. */
const STRANGE: readonly unknown[] = [
  null,
  5,
  -1,
  Number.NaN,
  'x',
  true,
  Symbol('s'),
  () => undefined,
  10n,
  Object.create(null),
];
const any = (value: unknown): never => value as never;

interface Bench {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly device: TestDevice;
  readonly kernel: DeviceKernel;
  readonly addr: number;
}

async function open(): Promise<Bench> {
  const machine = await bootMachine({ engine: 'cpu', ramBytes: 4 * MIB, deviceBytes: MIB });
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const kernel = await device.compileKernel({ shape: 'stencil' });
  const addr = await process.mmap({ length: 4096, prot: 3 });
  return { machine, process, device, kernel, addr };
}

/** The code with which a call rejects; a call that throws, or returns no promise, has none. */
async function codeOf(call: () => Promise<unknown>): Promise<string> {
  let result: Promise<unknown>;
  try {
    result = call();
  } catch (error) {
    return `thrown: ${String(error)}`;
  }
  const error = await result.then(
    () => 'done',
    (reason: unknown) => reason,
  );
  return error instanceof ErrnoError ? error.code : String(error);
}

test('a launch whose signal is none is refused, and one whose signal is one is not', async () => {
  const { device, kernel, addr, machine } = await open();
  for (const signal of STRANGE) {
    const options = { workgroups: 1, args: [addr, addr], signal: any(signal) };
    expect(await codeOf(() => device.launch(kernel, options))).toBe('EINVAL');
    expect(await codeOf(() => device.startLaunch(kernel, options).report)).toBe('EINVAL');
  }
  const { signal } = new AbortController();
  const report = await device.launch(kernel, { workgroups: 1, args: [addr, addr], signal });
  expect(report.hasBegun).toBe(true);
  const ended = AbortSignal.abort();
  expect(
    await device.launch(kernel, { workgroups: 1, args: [addr, addr], signal: ended }),
  ).toMatchObject({ outcome: 'aborted' });
  await machine.close();
});

test('so is one without a kernel, or without options', async () => {
  const { device, kernel, machine } = await open();
  for (const value of [undefined, ...STRANGE, {}]) {
    expect(await codeOf(() => device.launch(any(value), { workgroups: 1 }))).toBe('EBADF');
  }
  for (const value of [undefined, null, 5, 'x', Symbol('s'), () => undefined]) {
    expect(await codeOf(() => device.launch(kernel, any(value)))).toBe('EFAULT');
    const launch = device.startLaunch(kernel, any(value));
    expect(await codeOf(() => launch.report)).toBe('EFAULT');
    // The handle of one that never began can be used all the same.
    launch.pause();
    await launch[Symbol.asyncDispose]();
    expect(launch.progress.passes).toBe(0);
  }
  await machine.close();
});

test('commands and kernels with names that are no text', async () => {
  const { device, machine } = await open();
  for (const value of STRANGE) {
    expect(await codeOf(() => device.ioctl(any(value), { addr: 0, ptr: 0, npages: 1 }))).toMatch(
      /^E/,
    );
    const isText = typeof value === 'string';
    const code = await codeOf(() => device.compileKernel({ shape: 'stencil', name: any(value) }));
    expect(code).toBe(isText ? 'done' : 'EINVAL');
    expect(await codeOf(() => device.compileKernel(any(value)))).toMatch(/^E(FAULT|INVAL)$/);
  }
  await machine.close();
});

test('another process that is none, or one of another machine', async () => {
  const { process, addr, machine } = await open();
  const range = { local: addr, remote: addr, length: 4 };
  const other = await open();
  for (const remote of [undefined, ...STRANGE, {}, other.process]) {
    expect(await codeOf(() => process.processVmReadv(any(remote), range))).toBe('ESRCH');
    expect(await codeOf(() => process.processVmWritev(any(remote), range))).toBe('ESRCH');
  }
  expect(await process.processVmReadv(process, range)).toBe(4);
  await other.machine.close();
  await machine.close();
});

test('traces without a listener, options or kinds', async () => {
  const { machine } = await open();
  const listener = (): void => undefined;
  for (const value of STRANGE.filter((one) => typeof one !== 'function')) {
    expect(await codeOf(() => machine.trace(any(value)))).toBe('EINVAL');
    expect(await codeOf(() => machine.trace(listener, { events: any(value) }))).toBe('EINVAL');
  }
  for (const value of [null, 5, 'x']) {
    expect(await codeOf(() => machine.trace(listener, any(value)))).toBe('EFAULT');
  }
  const trace = await machine.trace(listener, { events: ['fault'] });
  await trace.close();
  await machine.close();
});

test('programs without an entry, and with what can not be told of them', async () => {
  const { process, machine } = await open();
  for (const value of [undefined, ...STRANGE.filter((one) => typeof one !== 'string')]) {
    expect(await codeOf(() => process.run(any(value)))).toBe('EINVAL');
  }
  const run = (events: unknown): Promise<string> =>
    codeOf(() => process.run('https://a.example/b.js', null, any(events)));
  for (const events of [null, 5, 'x']) expect(await run(events)).toBe('EFAULT');
  for (const onOutput of STRANGE.filter((one) => typeof one !== 'function')) {
    expect(await run({ onOutput })).toBe('EINVAL');
    expect(await run({ onSpawn: onOutput })).toBe('EINVAL');
  }
  // With good ones it is the machine that has no cores.
  expect(await run({ onOutput: () => undefined })).toBe('EOPNOTSUPP');
  await machine.close();
});

test('modes of a userfaultfd that are none', async () => {
  const { process, machine, addr } = await open();
  const uffd = await process.userfaultfd();
  expect(await codeOf(() => uffd.register(addr, 4096, any(null)))).toBe('EFAULT');
  expect(await codeOf(() => uffd.register(addr, 4096, any(5)))).toBe('EFAULT');
  expect(await codeOf(() => uffd.register(addr, 4096))).toBe('done');
  await machine.close();
});

test('what can not be sent to another thread is a bad argument', async () => {
  const { machine } = await open();
  const send = (value: unknown): Promise<unknown> =>
    machine.call(new Promise((resolve) => resolve(structuredClone(value))));
  expect(await codeOf(() => send(() => undefined))).toBe('EINVAL');
  expect(await codeOf(() => send(Symbol('s')))).toBe('EINVAL');
  expect(await codeOf(() => send(5))).toBe('done');
  await expect(machine.call(Promise.reject(new Error('mine')))).rejects.toThrow('mine');
  await machine.close();
});

test('a machine of options that are none', async () => {
  const refusal = (options: unknown): Promise<unknown> =>
    bootMachine(any(options)).then(
      () => 'done',
      (error: unknown) => (error instanceof OpenError ? error.errno : String(error)),
    );
  for (const value of [null, 5, 'x', true, Symbol('s')]) {
    expect(await refusal(value)).toBe(errno.EINVAL);
  }
  for (const name of ['engine', 'ramBytes', 'deviceBytes', 'thp', 'devices', 'strategy']) {
    for (const value of [Symbol('s'), {}, [], () => undefined, Object.create(null) as unknown]) {
      expect(await refusal({ engine: 'cpu', [name]: value })).toBe(errno.EINVAL);
    }
  }
});
