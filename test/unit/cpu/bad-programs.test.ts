/*
 * Programs that misbehave, in real threads: each fails alone, with a message that names the cause,
 * while another process's program goes on and the kernel answers.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { PAGE_SIZE, PROT_READ, PROT_WRITE, errno } from '../../../src/index.ts';
import type { Machine, Process, RunningProgram } from '../../../src/index.ts';

const RW = PROT_READ | PROT_WRITE;
const RAM_BYTES = 24 * 2 ** 20;
/** The kernel stops for a silent core for a second, and this machine may be busy. */
const ANSWER_MS = 20_000;

const SELF = new URL('../../fixtures/programs/misbehave.js', import.meta.url).href;

let machine: Machine;
let witness: Process;
let witnessWord = 0;

beforeAll(async () => {
  machine = await openNodeMachine({ engine: 'cpu', ramBytes: RAM_BYTES }, () => undefined);
  witness = await machine.spawn();
  witnessWord = await witness.mmap({ length: PAGE_SIZE, prot: RW });
  await witness.run(SELF, { kind: 'witness', addr: witnessWord });
});

afterAll(() => machine.close());

async function wordAt(process: Process, addr: number): Promise<number> {
  return new DataView((await process.read(addr, 4)).buffer).getUint32(0, true);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds));
}

/** Whatever a test did: somebody else's program goes on, and the kernel answers. */
async function othersGoOn(): Promise<void> {
  const before = performance.now();
  const first = await wordAt(witness, witnessWord);
  expect(performance.now() - before).toBeLessThan(ANSWER_MS);
  await expect.poll(() => wordAt(witness, witnessWord)).toBeGreaterThan(first);
}

afterEach(othersGoOn);

interface Run {
  readonly process: Process;
  readonly addr: number;
  readonly running: RunningProgram;
  readonly lines: string[];
}

/** Programs that don't end by themselves. */
const ENDLESS = [
  'spin',
  'spinOnMemory',
  'catchAll',
  'sleep',
  'never',
  'floodFaults',
  'floodHints',
  'commandLoop',
];

/** Runs a misbehaving program in a process of its own, with a page of memory. */
async function start(kind: string, more: object = {}, owner?: Process): Promise<Run> {
  const process = owner ?? (await machine.spawn());
  const addr = await process.mmap({ length: PAGE_SIZE, prot: RW });
  const lines: string[] = [];
  const announce = ENDLESS.includes(kind);
  let hear: () => void = () => undefined;
  const heard = new Promise<void>((resolve) => (hear = resolve));
  const onOutput = (text: string): void => {
    lines.push(text);
    hear();
  };
  const args = { kind, addr, announce, ...more };
  const running = await process.run(SELF, args, { onOutput });
  if (announce) await heard;
  return { process, addr, running, lines };
}

test.for([
  ['throw', /on purpose/],
  ['throwNothing', /null/],
  ['throwTrap', /can not be shown/],
] as const)('a program that throws (%s) fails with what it threw', async ([kind, message]) => {
  const { process, running } = await start(kind);
  const status = await running.exited;
  expect(status).toMatchObject({ status: -1, signal: '' });
  expect(status.message).toMatch(message);
  await process.exit();
});

test.for(['spin', 'spinOnMemory', 'catchAll', 'sleep', 'never'])(
  'a program that runs for ever (%s) can be killed',
  async (kind) => {
    const { process, running } = await start(kind);
    running.kill();
    const { status, signal } = await running.exited;
    // A thread without anything to wait for ends by itself.
    expect([status, signal]).toEqual([-1, 'SIGKILL']);
    await process.exit();
  },
);

test.for(['spin', 'spinOnMemory', 'catchAll', 'floodFaults', 'floodHints', 'commandLoop'])(
  'a process whose program runs for ever (%s) exits',
  async (kind) => {
    const { process, running } = await start(kind);
    await othersGoOn();
    await process.exit();
    const status = await running.exited;
    expect(status).toMatchObject({ status: -1, signal: 'SIGKILL' });
    await expect(process.mmap({ length: PAGE_SIZE, prot: RW })).rejects.toThrow('ESRCH');
  },
);

test('a program without memory accesses is ended by name when a call needs it, alone', async () => {
  const { process, addr, running } = await start('spin');
  const peer = await start('spinOnMemory', {}, process);
  await process.write(addr, new Uint8Array(4));
  const before = performance.now();
  await process.mprotect(addr, PAGE_SIZE, PROT_READ);
  expect(performance.now() - before).toBeGreaterThan(500);
  const { signal, message } = await running.exited;
  expect(signal).toBe('SIGKILL');
  expect(message).toMatch(new RegExp(`core ${running.slot} did not acknowledge .*cpu.compute`));
  peer.running.kill();
  expect((await peer.running.exited).message).toBe('killed');
  await process.exit();
});

describe('memory that a program may not touch', () => {
  test('is SIGSEGV with address and access, which ends whoever does not catch it', async () => {
    const { running } = await start('load', { addr: 0x1000 });
    const { status, signal, message } = await running.exited;
    expect([status, signal]).toEqual([-1, 'SIGSEGV']);
    expect(message).toBe('SIGSEGV: read at 0x1000: not mapped, or not with that permission');
  });

  test('can be probed: what is caught does no harm', async () => {
    const process = await machine.spawn();
    const readOnly = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ });
    const addresses = [readOnly, 0, readOnly + PAGE_SIZE * 999, 2 ** 47, 2 ** 53, -1, 1.5, 'NaN'];
    const { running, lines } = await start('probe', { addresses }, process);
    expect((await running.exited).status).toBe(7);
    const expected = addresses.slice(1).flatMap((addr) => {
      const segv = `CpuSignal SIGSEGV ${addr}`;
      return [`${segv} read`, `${segv} write`];
    });
    expect(lines).toEqual(['nothing', `CpuSignal SIGSEGV ${readOnly} write`, ...expected]);
    await process.exit();
  });

  test('may be taken away by a peer: who uses it hears of it, alone', async () => {
    const { process, addr, running, lines } = await start('loadUntilRefused');
    await pause(30);
    const peer = await start('munmap', { addr }, process);
    expect((await peer.running.exited).status).toBe(0);
    expect((await running.exited).status).toBe(0);
    expect(lines).toEqual([`CpuSignal SIGSEGV ${addr} read`]);
    await process.exit();
  });
});

test('a program that is killed within device commands leaves the device to others', async () => {
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  for (let i = 0; i < 8; i++) {
    const { addr, running } = await start('commandLoop', {}, process);
    await pause(i * 3);
    running.kill();
    expect(await running.exited).toMatchObject({ signal: 'SIGKILL', message: 'killed' });
    await device.ioctl('ADD', { addr, npages: 1, ptr: 1 });
    await process.mprotect(addr, PAGE_SIZE, PROT_READ);
  }
  await process.exit();
});

test('a program that waits for a monitor in vain can be killed, its process exits', async () => {
  const process = await machine.spawn();
  const addr = await process.mmap({ length: PAGE_SIZE, prot: RW });
  const uffd = await process.userfaultfd();
  await uffd.register(addr, PAGE_SIZE, { missing: true });
  const killed = await start('store', { addr }, process);
  expect(await uffd.read()).toMatchObject({ address: addr });
  killed.running.kill();
  expect((await killed.running.exited).signal).toBe('SIGKILL');
  const exits = await start('store', { addr }, process);
  await uffd.read();
  await process.exit();
  expect((await exits.running.exited).signal).toBe('SIGKILL');
});

test('a page that was lost with its device is SIGBUS, which a program may survive', async () => {
  const own = await openNodeMachine({ engine: 'cpu', ramBytes: RAM_BYTES }, () => undefined);
  const process = await own.spawn();
  const addr = await process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  await process.write(addr, new Uint8Array(2 * PAGE_SIZE).fill(1));
  const device = await process.openDevice(0);
  await device.ioctl('MIGRATE_TO_DEV', { addr, npages: 1, ptr: 0 });
  await own.loseDevice();
  const lines: string[] = [];
  const onOutput = (text: string): void => void lines.push(text);
  const addresses = [addr, addr + PAGE_SIZE];
  const probing = await process.run(SELF, { kind: 'probe', addresses }, { onOutput });
  expect((await probing.exited).status).toBe(7);
  const lost = `CpuSignal SIGBUS ${addr}`;
  expect(lines).toEqual([`${lost} read`, `${lost} write`, 'nothing', 'nothing']);
  const ending = await process.run(SELF, { kind: 'load', addr });
  const { signal, message } = await ending.exited;
  expect(signal).toBe('SIGBUS');
  expect(message).toMatch(`SIGBUS: read at 0x${addr.toString(16)}: the contents of the page`);
  await own.close();
});

test('a lock that a program leaves behind keeps out only those who want it', async () => {
  const { process, addr, running } = await start('holdLock');
  expect((await running.exited).message).toMatch('leaves with the lock');
  const waiting = await start('spinForLock', { addr }, process);
  await pause(30);
  await othersGoOn();
  await process.write(addr, new Uint8Array(4));
  expect(await waiting.running.exited).toMatchObject({ status: 0 });
  await process.exit();
});

test('a program that prints a lot waits for its host, and every line comes in order', async () => {
  const { process, running, lines } = await start('floodPrints', { lines: 5000 });
  expect((await running.exited).status).toBe(0);
  expect(lines).toEqual(Array.from({ length: 5000 }, (_, i) => String(i)));
  await process.exit();
});

test.for([
  ['no-default.js', /no default export/],
  ['no-such-program.js', /no-such-program/],
  ['not-a-module.md', /./],
] as const)('what is no program (%s) fails with the reason', async ([name, message]) => {
  const process = await machine.spawn();
  const running = await process.run(SELF.replace('misbehave.js', name));
  const status = await running.exited;
  expect(status.status).toBe(-1);
  expect(status.message).toMatch(message);
  await process.exit();
});

test('arguments that can not be sent are refused, and cost no core', async () => {
  const process = await machine.spawn();
  for (let i = 0; i < 70; i++) {
    await expect(process.run(SELF, { kind: () => i })).rejects.toThrow(/could not be cloned/);
  }
  await process.exit();
});

test('a thread that goes by itself takes its program along, and is buried', async () => {
  const { process, running } = await start('vanish');
  const status = await running.exited;
  expect(status).toMatchObject({ status: -1, signal: 'SIGKILL' });
  expect(status.message).toMatch('ended by itself');
  await process.exit();
});

test('calls that are none are refused, and end nothing', async () => {
  const { process, running, lines } = await start('garbage');
  expect(await running.exited).toMatchObject({ status: 0, message: '' });
  expect(lines.slice(0, 6)).toEqual(['-14', '-14', '-14', '-14', '-14', '0']);
  expect(lines.slice(6)).toEqual([
    'SyscallError -95  ',
    'SyscallError -14  ',
    'SyscallError -22  ',
    'SyscallError -9  ',
    'SyscallError -75  ',
  ]);
  await process.exit();
});

test('the slot and the memory of a core are kept until it is known to be dead', async () => {
  const { process, running } = await start('spinOnMemory');
  expect(await machine.api.endCore(running.slot)).toBe(errno.EBUSY);
  running.kill();
  await running.exited;
  expect(await machine.api.endCore(running.slot)).toBe(errno.EINVAL);
  await process.exit();
});

test('a program may end its whole process', async () => {
  const { process, running } = await start('exit');
  expect(await running.exited).toMatchObject({ status: -1, message: 'its process has ended' });
  await expect(process.exit()).rejects.toThrow('ESRCH');
});
