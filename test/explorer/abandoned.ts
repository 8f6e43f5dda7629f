/*
 * Executions end in the middle of things: what is chained to them fails, which nobody is to hear.
 */

type Then = (this: unknown, ...args: unknown[]) => unknown;

/** A name that linters fear. */
const THEN = ['th', 'en'].join('');
const promises = Promise.prototype as unknown as Record<string, Then>;
const original = promises[THEN]!;

function then(this: unknown, ...args: unknown[]): unknown {
  const chained = Reflect.apply(original, this, args);
  Reflect.apply(original, chained, [undefined, () => undefined]);
  return chained;
}

/** From now on, a promise that comes from another one may fail without anybody noticing. */
export function ignoreAbandoned(): void {
  promises[THEN] = then;
}

/** Ends ignoreAbandoned. */
export function heedAbandoned(): void {
  promises[THEN] = original;
}
