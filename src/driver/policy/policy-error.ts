/** What policies do wrong, with the policy and the call named. */
import { PolicyError } from './policy.ts';
import type { FaultPolicy } from './policy.ts';

/** @returns the error itself where it is a PolicyError, else one with it as its cause */
export function asPolicyError(error: unknown, policy: FaultPolicy, call: string): PolicyError {
  if (error instanceof PolicyError) return error;
  return new PolicyError(policy.name, call, `throws: ${messageOf(error)}`, error);
}

/** What was thrown, which may be anything, also what has no text. */
function messageOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return `something without a text (${typeof error})`;
  }
}

/**
 * A policy answers at once: an asynchronous one would answer when its faults are long over.
 *
 * @throws PolicyError where `answered` is a promise, whose own failure is heard and dropped
 */
export function refusePromise(answered: unknown, policy: FaultPolicy, call: string): void {
  if (!(answered instanceof Promise)) return;
  answered.catch(() => undefined);
  throw new PolicyError(policy.name, call, 'answers with a promise; it has to answer at once');
}

/** An error's stack; '' where it is no text, or can't be asked for: errors are the user's own. */
function stackOf(error: Error): string {
  try {
    const stack: unknown = error.stack;
    return typeof stack === 'string' ? stack : '';
  } catch {
    return '';
  }
}

/**
 * Where in a user's module an error came from.
 *
 * @param error thrown by the module, by what it called, or because of its text
 * @param url the module's
 * @returns "3:17", line and column; "3" where no column is known; '' where neither is
 */
export function placeIn(error: unknown, url: string): string {
  const name = url.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  // A loader may have put a query behind the name, or a line alone before the whole.
  const place = new RegExp(String.raw`(?:^|[\s(@])${name}(?:\?[^\s:]*)?:(\d+)(:\d+)?(?!\d)`);
  const chain: Error[] = [];
  // What the policy threw itself comes first: nearer to the mistake than what we made of it.
  for (let one = error; one instanceof Error && chain.length < 8; one = one.cause) {
    chain.unshift(one);
  }
  for (const one of chain) {
    const found = place.exec(stackOf(one));
    if (found !== null) return `${found[1]}${found[2] ?? ''}`;
  }
  return '';
}

/**
 * What went wrong with a policy, with its module where it has one, and the place in it where that
 * is known: " (mine.mjs:3:17)", or " (line 3, column 17)" of a module that is no file.
 *
 * @param url the module's; anything else is no module
 * @param name how to call it; by default the end of its URL
 */
export function policyErrorText(error: Error, url: string, name = fileOf(url)): string {
  if (!/^[a-z][a-z\d+.-]*:/i.test(url)) return error.message;
  const place = placeIn(error, url);
  const [line, column] = place.split(':');
  const inText = column === undefined ? `line ${line}` : `line ${line}, column ${column}`;
  const parts = name === '' ? [place === '' ? '' : inText] : [name, place];
  const where = parts.filter((part) => part !== '').join(':');
  return where === '' ? error.message : `${error.message} (${where})`;
}

function fileOf(url: string): string {
  const path = /^(?:blob|data):/.test(url) ? '' : url.replace(/[?#].*$/, '');
  return path.slice(path.lastIndexOf('/') + 1);
}
