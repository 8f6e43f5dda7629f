/*
 * That nothing makes a TLB hit slow: loose bounds, since the machine may be busy. The benchmark
 * holds them against the real ones (suite cpu).
 */
import { expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';

/** The goals are 6 and 1 / 0.85. */
const MAX_HIT_RATIO = 9;
const MAX_BULK_RATIO = 2;
const MAX_ROUNDS = 24;

/** Whether a line of the program stays within the bounds. */
function isFast(line: string): boolean {
  const ratios = JSON.parse(line) as Record<'load' | 'store' | 'read' | 'write', number>;
  const areHits = Math.max(ratios.load, ratios.store) < MAX_HIT_RATIO;
  return areHits && Math.max(ratios.read, ratios.write) < MAX_BULK_RATIO;
}

test('hits cost a few times a typed array access, bulk copies hardly more than set', async () => {
  const machine = await openNodeMachine({ engine: 'cpu', ramBytes: 2 ** 24 }, () => undefined);
  try {
    const process = await machine.spawn();
    const entry = new URL('../../fixtures/programs/tlb-speed.js', import.meta.url);
    const lines: string[] = [];
    // What is slow is so each time; what the machine's other work costs is not.
    for (let round = 0; round < MAX_ROUNDS && !lines.some(isFast); round++) {
      const running = await process.run(entry, null, { onOutput: (text) => lines.push(text) });
      expect(await running.exited).toEqual({ status: 0, signal: '', message: '' });
    }
    expect(lines.some(isFast), lines.join('\n')).toBe(true);
  } finally {
    await machine.close();
  }
}, 120_000);
