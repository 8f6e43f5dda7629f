/*
 * What the CPU engine has beyond the contract: it is synchronous, its VRAM is its own, and tests
 * can make single jobs fail.
 */
import { expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { CommandList } from '../../../src/engine/command-list.ts';
import { CpuEngine } from '../../../src/engine/cpu-engine.ts';

const geometry = { hostFrames: 16, vramFrames: 16 };

function machine(failJob?: (list: CommandList, row: number) => boolean) {
  const ram = new Uint8Array(new SharedArrayBuffer(16 * 4096));
  const words = new Uint32Array(ram.buffer);
  words.forEach((_, i) => (words[i] = i + 1));
  const engine = new CpuEngine({ ram, geometry, ...(failJob ? { failJob } : {}) });
  return { engine, words };
}

it('answers synchronously', () => {
  const { engine } = machine();
  const list = new CommandList(1);
  list.copy(0, 16);
  expect(engine.submit(list)).toBe(0);
});

it('keeps VRAM apart from RAM: later changes to the source do not show', () => {
  const { engine, words } = machine();
  const list = new CommandList(2);
  list.copy(0, 16);
  engine.submit(list);
  words.fill(0, 0, 1024);
  list.reset();
  list.copy(16, 1);
  engine.submit(list);
  expect(words[1024]).toBe(1);
  expect(words[0]).toBe(0);
});

it('VRAM is zero at first', () => {
  const { engine, words } = machine();
  const list = new CommandList(1);
  list.copy(31, 0);
  engine.submit(list);
  expect(words.subarray(0, 1024).every((word) => word === 0)).toBe(true);
});

it('a failed job has no done bit, the others are complete, RAM targets stay', () => {
  const { engine, words } = machine((_list, row) => row === 1 || row === 3);
  const list = new CommandList(4);
  list.copy(0, 16);
  list.copy(1, 17);
  list.clear(18);
  list.clear(5);
  expect(engine.submit(list)).toBe(errno.EIO);
  expect(Array.from(list.done)).toEqual([1, 0, 1, 0]);
  expect(words[5 * 1024]).toBe(5 * 1024 + 1);
});

it('a wrecked VRAM target shows as garbage', () => {
  let fail = true;
  const { engine, words } = machine(() => fail);
  const list = new CommandList(1);
  list.copy(0, 16, 2);
  expect(engine.submit(list)).toBe(errno.EIO);
  fail = false;
  list.reset();
  list.copy(16, 4, 2);
  expect(engine.submit(list)).toBe(0);
  expect(words[4 * 1024]).toBe(0xdbdbdbdb);
  expect(words[6 * 1024 - 1]).toBe(0xdbdbdbdb);
  expect(words[6 * 1024]).toBe(6 * 1024 + 1);
});

it('refuses strategies that it does not have, and names a row', () => {
  const { engine } = machine();
  const list = new CommandList(1);
  list.copy(0, 16);
  for (const strategy of ['commands', 'staging', 'runs', 'compute', 'writeBuffer'] as const) {
    expect(engine.submit(list, strategy)).toBe(errno.EINVAL);
    expect(list.firstBad).toBe(0);
    expect(list.done[0]).toBe(0);
  }
  expect(engine.submit(list, 'cpu')).toBe(0);
  expect(engine.submit(list, 'auto')).toBe(0);
});

it('a list that is submitted again starts without done bits and results', () => {
  let fail = false;
  const { engine } = machine(() => fail);
  const list = new CommandList(1);
  list.checksum(0, 2);
  expect(engine.submit(list)).toBe(0);
  const first = list.result[0];
  expect(engine.submit(list)).toBe(0);
  expect(list.result[0]).toBe(first);
  fail = true;
  expect(engine.submit(list)).toBe(errno.EIO);
  expect(list.done[0]).toBe(0);
});

it('refuses shared memory that is smaller than its geometry', () => {
  const ram = new Uint8Array(new SharedArrayBuffer(15 * 4096));
  expect(() => new CpuEngine({ ram, geometry })).toThrow('smaller than the geometry');
});
