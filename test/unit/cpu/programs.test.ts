/*
 * Programs on cores, in real threads: the kernel in a worker thread of its own, each core in
 * another.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';
import type { Machine } from '../../../src/index.ts';

const program = (name: string): URL => new URL(`../../fixtures/programs/${name}`, import.meta.url);

describe('programs in Node', () => {
  let machine: Machine;

  beforeAll(async () => {
    machine = await openNodeMachine({ engine: 'cpu', ramBytes: 64 * 2 ** 20 }, () => undefined);
  });

  afterAll(() => machine.close());

  test('a program maps memory, stores to it and loads it again', async () => {
    const process = await machine.spawn();
    const before = (await machine.counters()).vm['pgfault']!;
    const lines: string[] = [];
    const events = { onOutput: (text: string): void => void lines.push(text) };
    const running = await process.run(program('sum.js'), { words: 4096 }, events);
    expect(await running.exited).toEqual({ status: 0, signal: '', message: '' });
    expect(lines).toEqual(['sum 8386560']);
    // One for each page: the first store makes it.
    expect((await machine.counters()).vm['pgfault']! - before).toBe(4);
    await process.exit();
  });
});
