/*
 * The fault lab's kernels: what their arrays begin with, that their checks know right from wrong,
 * and what the page's settings make of them. That they run is for test/tooling/kernel-page.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { pagesOfOrder } from '../../../examples/05-fault-lab/kernel-run.ts';
import {
  EXAMPLE_NAMES,
  exampleKernel,
  fillArrays,
} from '../../../examples/05-fault-lab/kernels.ts';
import { KERNEL_FIELDS, orderOf } from '../../../examples/05-fault-lab/settings.ts';
import { queryOf, settingsFrom } from '../../../examples/_shell/settings.ts';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';

const read = (query: string) => settingsFrom(KERNEL_FIELDS, new URLSearchParams(query));

describe('the kernels of the list', () => {
  test.for(EXAMPLE_NAMES)('%s passes the check of kernels, unless it shows refusals', (name) => {
    expect(isRefused(checkKernel(exampleKernel(name).wgsl))).toBe(name === 'refused');
  });

  test('arrays are the same for the same seed, and a permutation has each index once', () => {
    const [random, order, zero] = fillArrays(['random', 'order', 'zero'], 1024, 5);
    expect(fillArrays(['random', 'order', 'zero'], 1024, 5)).toEqual([random, order, zero]);
    expect(fillArrays(['random'], 1024, 6)[0]).not.toEqual(random);
    expect(order!.toSorted()).toEqual(Uint32Array.from({ length: 1024 }, (_, i) => i));
    expect(order).not.toEqual(order!.toSorted());
    expect(zero!.every((word) => word === 0)).toBe(true);
  });

  const run = (name: keyof typeof DONE, change?: (after: Uint32Array[]) => void) => {
    const { fills, check } = exampleKernel(name);
    const before = fillArrays(fills, 1024, 1);
    const after = before.map((array) => array.slice());
    DONE[name](after);
    change?.(after);
    return check!(before, after);
  };

  /** What the kernels do, as simply as can be. */
  const DONE = {
    elementwise: ([a, b, c]: Uint32Array[]) => c!.forEach((_, i) => (c![i] = 3 * a![i]! + b![i]!)),
    stencil: ([a, b]: Uint32Array[]) =>
      b!.forEach((_, i) => {
        b![i] = (a![i - 1] ?? a![0]!) + 2 * a![i]! + (a![i + 1] ?? a![i]!);
      }),
    increment: ([a]: Uint32Array[]) => a!.forEach((_, i) => a![i]!++),
    histogram: ([data, bins]: Uint32Array[]) => data!.forEach((x) => bins![x % 1024]!++),
    chase: ([next, out]: Uint32Array[]) =>
      out!.forEach((_, i) => {
        out![i] = [1, 2, 3, 4, 5, 6, 7, 8].reduce((p) => next![p]!, i);
      }),
    reduction: ([data, out]: Uint32Array[]) =>
      data!.forEach((x, i) => (out![Math.floor(i / 64)]! += x)),
    hash: ([data, table]: Uint32Array[]) => {
      const keys = new Set(data!.filter((_, i) => i % 2 === 0).map((x) => (x | 1) >>> 0));
      // The order of a table is free.
      table!.set([...keys], 3);
    },
  };

  test.for(Object.keys(DONE) as (keyof typeof DONE)[])('the check of %s', (name) => {
    expect(run(name)).toBeUndefined();
    const last = exampleKernel(name).fills.length - 1;
    expect(run(name, (after) => (after[last]![5]! ^= 2))).toEqual(expect.any(String));
  });

  test('a check says which word of which array is wrong', () => {
    const wrong = run('increment', ([array]) => (array![7] = 0));
    expect(wrong).toMatch(/^word 7 of array 0 is 0, and should be \d+$/);
  });

  test('what is right for one that can not finish is nobody to say', () => {
    for (const name of ['out of bounds', 'endless', 'refused'] as const) {
      expect(exampleKernel(name).check).toBeUndefined();
    }
  });
});

describe("a kernel's settings", () => {
  test('make whole pages, and at least one page of device memory', () => {
    const order = orderOf(read('kernel=elementwise&kib=6&fit=1'));
    expect(order).toMatchObject({ words: 2048, devicePages: 1, window: 64, seed: 1 });
    expect(pagesOfOrder(order)).toBe(6);
    expect(orderOf(read('kernel=elementwise&kib=128&fit=50')).devicePages).toBe(48);
    expect(orderOf(read('kernel=elementwise&kib=128&fit=100')).devicePages).toBe(96);
  });

  test('take a text of one’s own before the one of the list', () => {
    expect(orderOf(read('kernel=chase')).wgsl).toBe(exampleKernel('chase').wgsl);
    const mine = 'fn kernel(wg: u32, lid: u32) {\n  // & = +\n}\n';
    const query = queryOf(KERNEL_FIELDS, { ...read('kernel=chase'), wgsl: mine });
    const order = orderOf(read(query.toString()));
    expect(order).toMatchObject({ wgsl: mine, fills: ['order', 'zero'] });
  });
});
