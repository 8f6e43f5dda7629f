/*
 * Files that a page gives away.
 */
import { el } from './dom.ts';

/**
 * Puts an element's text on the clipboard; selects it where the browser does not allow that.
 *
 * @returns what became of it, in words
 */
export async function copyText(element: HTMLElement): Promise<string> {
  try {
    await navigator.clipboard.writeText(element.textContent ?? '');
    return 'Copied.';
  } catch {
    getSelection()?.selectAllChildren(element);
    return 'The browser refused to copy. The text is selected: copy it by hand (Ctrl+C or ⌘C).';
  }
}

/** Offers `content` as a download. */
export function save(content: string | Blob, name: string, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el('a', { href: url, download: name }).click();
  // The browser has taken its own reference by the next task.
  setTimeout(() => URL.revokeObjectURL(url));
}
