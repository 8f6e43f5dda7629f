/*
 * Files that a page gives away.
 */
import { el } from './dom.ts';

/** Offers `text` as a download. */
export function save(text: string, name: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el('a', { href: url, download: name }).click();
  // The browser has taken its own reference by the next task.
  setTimeout(() => URL.revokeObjectURL(url));
}
