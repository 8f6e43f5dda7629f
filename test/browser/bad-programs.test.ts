/**
 * Programs that misbehave in a real browser: what differs from Node is how a thread ends, and how
 * that is proven.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Machine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { RunningProgram } from '../../src/index.ts';

const RW = PROT_READ | PROT_WRITE;
const RAM_BYTES = 24 * 2 ** 20;
const SELF = new URL('../fixtures/programs/misbehave.js', import.meta.url).href;

let machine: Machine;

beforeAll(async () => {
  machine = await Machine.create({ engine: 'cpu', ramBytes: RAM_BYTES });
});

afterAll(async () => {
  await machine.close();
  // The browser takes a moment for those of a worker that it has ended.
  await vi.waitFor(
    async () => {
      const { held = [], pending = [] } = await navigator.locks.query();
      const ours = [...held, ...pending].filter(({ name }) => name?.startsWith('webhmm-core-'));
      expect(ours).toEqual([]);
    },
    { timeout: 30_000 },
  );
});

/** Starts a program that prints `running` first, and waits for that. */
async function start(kind: string, length = PAGE_SIZE) {
  const process = await machine.spawn();
  const addr = await process.mmap({ length, prot: RW });
  let hear: () => void = () => undefined;
  const heard = new Promise<void>((resolve) => (hear = resolve));
  const lines: string[] = [];
  const onOutput = (text: string): void => {
    lines.push(text);
    hear();
  };
  const args = { kind, addr, length, announce: true, self: SELF };
  const running = await process.run(SELF, args, { onOutput });
  await heard;
  return { process, running, lines };
}

test('a program that throws fails with what it threw', async () => {
  const { process, running } = await start('throw');
  const { status, message } = await running.exited;
  expect(status).toBe(-1);
  expect(message).toMatch('on purpose');
  await process.exit();
});

test.for(['spin', 'spinOnMemory', 'floodFaults', 'floodHints', 'sleep', 'never'])(
  'a program that runs for ever (%s) is killed, or ends with its process',
  async (kind) => {
    const killed = await start(kind);
    killed.running.kill();
    expect(await killed.running.exited).toMatchObject({ signal: 'SIGKILL', message: 'killed' });
    await killed.process.exit();
    const exits = await start(kind);
    await exits.process.exit();
    const message = 'its process has ended';
    expect(await exits.running.exited).toMatchObject({ signal: 'SIGKILL', message });
  },
);

test('a program is killed before it has begun', async () => {
  const process = await machine.spawn();
  const lines: string[] = [];
  const onOutput = (text: string): void => void lines.push(text);
  for (let i = 0; i < 20; i++) {
    const running = await process.run(SELF, { kind: 'spin', announce: true }, { onOutput });
    running.kill();
    expect(await running.exited).toMatchObject({ signal: 'SIGKILL' });
  }
  await process.exit();
});

test('a thread that goes by itself takes its program along, and is buried', async () => {
  const { process, running } = await start('vanish');
  const { status, message } = await running.exited;
  expect(status).toBe(-1);
  expect(message).toMatch('ended by itself');
  await process.exit();
});

test('what is no program fails with the reason', async () => {
  const process = await machine.spawn();
  for (const name of ['no-default.js', 'no-such-program.js']) {
    const running = await process.run(SELF.replace('misbehave.js', name));
    const { status, message } = await running.exited;
    expect(status).toBe(-1);
    expect(message).toMatch(name === 'no-default.js' ? /default export/ : /no-such-program/);
  }
  await process.exit();
});

test('arguments that can not be sent are refused, and cost no core', async () => {
  const process = await machine.spawn();
  for (let i = 0; i < 70; i++) {
    await expect(process.run(SELF, { kind: () => i })).rejects.toThrow(/could not be cloned/);
  }
  await process.exit();
});

test('a machine closes while programs run', async () => {
  const other = await Machine.create({ engine: 'cpu', ramBytes: RAM_BYTES });
  const ends = [];
  for (const kind of ['spin', 'sleep', 'floodHints']) {
    const process = await other.spawn();
    ends.push((await process.run(SELF, { kind, addr: 0 })).exited);
  }
  await other.close();
  for (const { signal } of await Promise.all(ends)) expect(signal).toBe('SIGKILL');
});

test('every slot can be had again', async () => {
  const process = await machine.spawn();
  const running: RunningProgram[] = [];
  for (let i = 0; i < 6; i++) running.push(await process.run(SELF, { kind: 'spin' }));
  const slots = running.map(({ slot }) => slot);
  for (const program of running) program.kill();
  await Promise.all(running.map(({ exited }) => exited));
  const next = await process.run(SELF, { kind: 'throw' });
  expect(slots).toContain(next.slot);
  await next.exited;
  await process.exit();
});

test('frames that a killed program wrote to go to others when it can write no more', async () => {
  const length = RAM_BYTES / 4;
  for (let round = 0; round < 5; round++) {
    const victim = await start('overwrite', length);
    await new Promise((resolve) => void setTimeout(resolve, 20));
    if (round % 2 === 0) victim.running.kill();
    await victim.process.exit();
    const heir = await machine.spawn();
    const fresh = await heir.mmap({ length, prot: RW });
    await heir.write(fresh, new Uint8Array(length));
    const bytes = await heir.read(fresh, length);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    await heir.exit();
  }
});
