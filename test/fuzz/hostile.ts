/*
 * Arguments that callers without types, or with bad arithmetic, come up with.
 */
import type { Prng } from '../../src/base/prng.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../src/base/units.ts';

/** Numbers that are no address, no length, no descriptor, or one at the very edge. */
export const HOSTILE_NUMBERS: readonly number[] = [
  NaN,
  Infinity,
  -Infinity,
  -0,
  0,
  -1,
  -PAGE_SIZE,
  0.5,
  -0.5,
  5e-324,
  PAGE_SIZE - 1,
  PAGE_SIZE + 1,
  PAGE_SIZE * 1.5,
  2 ** 20,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 32 + PAGE_SIZE,
  -(2 ** 31),
  TASK_SIZE - PAGE_SIZE,
  TASK_SIZE,
  TASK_SIZE + PAGE_SIZE,
  2 ** 48,
  2 ** 52,
  Number.MAX_SAFE_INTEGER,
  -Number.MAX_SAFE_INTEGER,
  2 ** 53,
  2 ** 64,
  1e300,
  Number.MAX_VALUE,
];

/** Things that are no numbers at all. */
export const HOSTILE_THINGS: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  '',
  '1',
  '4096',
  'READ',
  'toString',
  '__proto__',
  'constructor',
  {},
  { length: PAGE_SIZE },
  [],
  [1],
  [PAGE_SIZE],
  new Uint8Array(3),
  new Uint32Array(8),
  new Date(0),
  10n,
  Symbol.iterator,
  () => 1,
  Object.create(null),
];

export function pick<T>(random: Prng, items: readonly T[]): T {
  return items[random.below(items.length)]!;
}

/** Anything but what the callee hopes for; numbers more often than not. */
export function hostile(random: Prng): unknown {
  return random.chance(0.65) ? pick(random, HOSTILE_NUMBERS) : pick(random, HOSTILE_THINGS);
}

/** How a value looks in a failure. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  if (value instanceof Uint8Array) return `Uint8Array(${value.length})`;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'string' ? `'${value}'` : String(value);
  }
  const fields = Object.entries(value).map(([key, field]) => `${key}: ${show(field)}`);
  return `{${fields.join(', ')}}`;
}
