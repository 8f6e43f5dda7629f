/** Programs on cores in a real browser: the kernel in a worker, each core in another. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Machine } from '../../src/index.ts';

const program = (name: string): string =>
  new URL(`../fixtures/programs/${name}`, import.meta.url).href;

describe('programs in a browser', () => {
  let machine: Machine;

  beforeAll(async () => {
    machine = await Machine.create({ engine: 'cpu', ramBytes: 64 * 2 ** 20 });
  });

  afterAll(() => machine.close());

  test('a program maps memory, stores to it and loads it again', async () => {
    const process = await machine.spawn();
    const lines: string[] = [];
    const events = { onOutput: (text: string): void => void lines.push(text) };
    const running = await process.run(program('sum.js'), { words: 4096 }, events);
    expect(await running.exited).toEqual({ status: 0, signal: '', message: '' });
    expect(lines).toEqual(['sum 8386560']);
    await process.exit();
  });
});
