/* Programs that fork, as many as there are cores, and what becomes of what they leave. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import { PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../../src/index.ts';
import type { ExitStatus, Machine, Process, RunningProgram } from '../../../src/index.ts';

const RW = PROT_READ | PROT_WRITE;
const RAM_BYTES = 24 * 2 ** 20;
const SELF = new URL('../../fixtures/programs/misbehave.js', import.meta.url).href;

let machine: Machine;

beforeEach(async () => {
  machine = await openNodeMachine({ engine: 'cpu', ramBytes: RAM_BYTES }, () => undefined);
});

afterEach(() => machine.close());

interface Family {
  readonly process: Process;
  readonly parent: RunningProgram;
  readonly children: RunningProgram[];
  readonly lines: string[];
}

async function start(kind: string): Promise<Family> {
  const process = await machine.spawn();
  const children: RunningProgram[] = [];
  const lines: string[] = [];
  const parent = await process.run(
    SELF,
    { kind, self: SELF },
    {
      onOutput: (text) => void lines.push(text),
      onSpawn: (child) => void children.push(child),
    },
  );
  return { process, parent, children, lines };
}

test('a parent may return before its child, which goes on', async () => {
  const { parent, children, lines } = await start('leaveChild');
  expect((await parent.exited).status).toBe(0);
  await expect.poll(() => children.length).toBe(1);
  expect(await children[0]!.exited).toMatchObject({ status: 0 });
  expect(lines).toEqual(['still here']);
});

test('a child that can not be started fails alone; what can not be sent makes none', async () => {
  const { parent, children, lines } = await start('badForks');
  expect((await parent.exited).status).toBe(0);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^DataCloneError/);
  await expect.poll(() => children.length).toBe(1);
  const { status, message } = await children[0]!.exited;
  expect(status).toBe(-1);
  expect(message).toMatch('no-such-program');
});

test('a fork bomb gets all cores, then EAGAIN; all of them can be had again', async () => {
  const { parent, process, children, lines } = await start('forkBomb');
  expect((await parent.exited).status).toBe(0);
  expect(lines).toEqual(['63 forks, then SyscallError -11  ']);
  await expect.poll(() => children.length).toBe(63);
  // The parent's own core is free again.
  const last = await process.run(SELF, { kind: 'sleep' });
  await expect(process.run(SELF, { kind: 'sleep' })).rejects.toThrow('EAGAIN');
  for (const child of [last, ...children]) child.kill();
  await Promise.all([last, ...children].map(({ exited }) => exited));
  const again = await process.run(SELF, { kind: 'throw' });
  expect((await again.exited).message).toMatch('on purpose');
}, 120_000);

test('a machine closes while programs run, and leaves no thread behind', async () => {
  const ends: Promise<ExitStatus>[] = [];
  for (const kind of ['spin', 'catchAll', 'floodFaults', 'sleep', 'forkBomb'].slice(0, 4)) {
    const process = await machine.spawn();
    const addr = await process.mmap({ length: PAGE_SIZE, prot: RW });
    ends.push((await process.run(SELF, { kind, addr })).exited);
  }
  await machine.close();
  for (const status of await Promise.all(ends)) expect(status.signal).toBe('SIGKILL');
});

test('frames that a killed program wrote to go to others when it can write no more', async () => {
  const length = RAM_BYTES / 4;
  for (let round = 0; round < 8; round++) {
    const victim = await machine.spawn();
    const addr = await victim.mmap({ length, prot: RW });
    let isRunning = false;
    const onOutput = (): void => void (isRunning = true);
    const running = await victim.run(
      SELF,
      { kind: 'overwrite', announce: true, addr, length },
      { onOutput },
    );
    await expect.poll(() => isRunning, { interval: 5 }).toBe(true);
    await new Promise((resolve) => void setTimeout(resolve, 20));
    if (round % 2 === 0) running.kill();
    await victim.exit();
    const heir = await machine.spawn();
    const fresh = await heir.mmap({ length, prot: RW });
    // A load would map the zero page.
    for (let at = 0; at < length; at += PAGE_SIZE) await heir.touch(fresh + at, 'write');
    const bytes = await heir.read(fresh, length);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    await heir.exit();
  }
}, 120_000);
