/*
 * What an object and all that hangs on it hold, in 64 bits: two executions of an actor that have
 * the same in memory go on alike.
 */

const mixed = { low: 0, high: 0 };
const floats = new Float64Array(1);
const halves = new Int32Array(floats.buffer);

function mix(word: number): void {
  mixed.low = Math.imul(mixed.low ^ word, 0x85ebca6b);
  mixed.low ^= mixed.low >>> 15;
  mixed.high = Math.imul(mixed.high + word, 0xc2b2ae35);
  mixed.high ^= mixed.high >>> 13;
}

function mixNumber(value: number): void {
  if (Math.trunc(value) === value && Math.abs(value) < 2 ** 31) return mix(value);
  floats[0] = value;
  mix(halves[0]!);
  mix(halves[1]!);
}

function mixText(text: string): void {
  for (let i = 0; i < text.length; i++) mix(text.charCodeAt(i));
}

/**
 * @param skip Names of properties that don't matter. Functions never do: what they close over must
 * be reachable otherwise.
 * @param constant Objects that are the same, and hold the same, in all executions.
 */
export function fingerprint(
  root: unknown,
  skip: ReadonlySet<string>,
  constant: readonly object[] = [],
): string {
  mixed.low = 0x9e3779b9 | 0;
  mixed.high = 0x7f4a7c15 | 0;
  walk(root, skip, new Map(constant.map((object, i) => [object, -1 - i])));
  return `${mixed.low >>> 0}.${mixed.high >>> 0}`;
}

function walk(value: unknown, skip: ReadonlySet<string>, seen: Map<object, number>): void {
  if (typeof value === 'number') return mixNumber(value);
  if (typeof value === 'string') return mixText(value);
  if (typeof value !== 'object' || value === null) return mix(value === true ? 1 : 2);
  const number = seen.get(value);
  if (number !== undefined) return mix(number);
  seen.set(value, seen.size);
  if (ArrayBuffer.isView(value)) return walkArray(value as Float64Array);
  if (value instanceof SharedArrayBuffer || value instanceof ArrayBuffer) return;
  if (value instanceof Map) {
    for (const [key, entry] of value) {
      walk(key, skip, seen);
      walk(entry, skip, seen);
    }
    return mix(value.size);
  }
  if (value instanceof Set) {
    for (const entry of value) walk(entry, skip, seen);
    return mix(value.size);
  }
  if (value instanceof Promise) throw new Error('a promise has no fingerprint');
  for (const key of Object.keys(value)) {
    const entry = (value as Record<string, unknown>)[key];
    if (skip.has(key) || typeof entry === 'function') continue;
    mixText(key);
    walk(entry, skip, seen);
  }
}

function walkArray(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] === 0) continue;
    mix(i);
    mixNumber(values[i]!);
  }
}
