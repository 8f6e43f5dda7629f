/*
 * The list of steps: what was called, what it did, where the pages are now, how long it took.
 */
import { byId, el } from '../_shell/dom.ts';
import { formatMs } from '../_shell/numbers.ts';
import { PageMap } from '../_shell/page-map.ts';

/** What a step has to say. */
export interface Step {
  readonly title: string;
  readonly call: string;
  readonly text: string;
  /** Milliseconds on this page, the hop to the kernel worker included. */
  readonly ms: number;
  /** PAGE_* codes of the range: after the step, or one after the other. */
  readonly entries: readonly Uint8Array[];
}

/** Empties the list. */
export function clearSteps(): void {
  byId('steps').replaceChildren();
}

/** Adds a step to the list, and shows its last entries in `map`. */
export function showStep(map: PageMap, { title, call, text, ms, entries }: Step): void {
  const item = el('li', {}, el('b', {}, title), el('span', { class: 'ms' }, formatMs(ms)));
  item.append(el('code', { class: 'call' }, call), el('p', {}, text));
  byId('steps').append(item);
  for (const codes of entries) {
    const strip = new PageMap({ label: 'entries', isStrip: true });
    item.append(strip.element);
    strip.update(codes);
    map.update(codes);
  }
}

/** The result of `work`, and how many milliseconds it took. */
export async function timed<T>(work: () => Promise<T>): Promise<[result: T, ms: number]> {
  const start = performance.now();
  return [await work(), performance.now() - start];
}
