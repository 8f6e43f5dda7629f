/*
 * Files that a page gives away.
 */
import { el } from './dom.ts';

/** Offers `content` as a download. */
export function save(content: string | Blob, name: string, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el('a', { href: url, download: name }).click();
  // The browser has taken its own reference by the next task.
  setTimeout(() => URL.revokeObjectURL(url));
}
