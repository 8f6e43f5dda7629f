/*
 * That nothing makes a TLB hit slow: loose bounds, since the machine may be busy. The benchmark
 * holds them against the real ones (suite cpu).
 */
import { expect, test } from 'vitest';
import { openNodeMachine } from '../../../cli/node-machine.ts';

/** The goals are 6 and 1 / 0.85. */
const MAX_HIT_RATIO = 9;
const MAX_BULK_RATIO = 2;

test('hits cost a few times a typed array access, bulk copies hardly more than set', async () => {
  const machine = await openNodeMachine({ engine: 'cpu', ramBytes: 2 ** 24 }, () => undefined);
  try {
    const process = await machine.spawn();
    const entry = new URL('../../fixtures/programs/tlb-speed.js', import.meta.url);
    const lines: string[] = [];
    const running = await process.run(entry, null, { onOutput: (text) => lines.push(text) });
    expect(await running.exited).toEqual({ status: 0, signal: '', message: '' });
    const ratios = JSON.parse(lines[0]!) as Record<string, number>;
    expect(ratios['load'], lines[0]).toBeLessThan(MAX_HIT_RATIO);
    expect(ratios['store'], lines[0]).toBeLessThan(MAX_HIT_RATIO);
    expect(ratios['read'], lines[0]).toBeLessThan(MAX_BULK_RATIO);
    expect(ratios['write'], lines[0]).toBeLessThan(MAX_BULK_RATIO);
  } finally {
    await machine.close();
  }
}, 60_000);
