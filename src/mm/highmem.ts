/**
 * CPU access to the contents of pages (include/linux/highmem.h): RAM, and coherent device memory.
 * The only place in mm that clears or copies page contents. Device-private memory has no CPU
 * mapping: reaching for it here is a bug of the emulator, never a slow path.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, WORDS_PER_PAGE } from '../base/units.ts';
import type { System } from './mm-types.ts';

/**
 * Fills a page with zeroes (clear_highpage).
 *
 * Context: any; the page is not mapped yet or the caller keeps users away.
 */
export function clearHighpage(sys: System, pfn: number): void {
  assert(pfn < sys.hostPages, 'I5: the CPU touches the contents of pages that it can reach only');
  const start = pfn * WORDS_PER_PAGE;
  sys.ramWords.fill(0, start, start + WORDS_PER_PAGE);
}

/** Fills a large folio with zeroes (folio_zero_user). Context: as clearHighpage. */
export function clearHugeFolio(sys: System, head: number): void {
  assert(
    head + HPAGE_PMD_NR <= sys.hostPages,
    'I5: the CPU touches the contents of pages that it can reach only',
  );
  const start = head * WORDS_PER_PAGE;
  sys.ramWords.fill(0, start, start + HPAGE_PMD_NR * WORDS_PER_PAGE);
}

/**
 * Copies the contents of one page to another (copy_highpage).
 *
 * Context: any; the source can't be written meanwhile since the copy does not wait.
 */
export function copyHighpage(sys: System, target: number, source: number): void {
  assert(
    target < sys.hostPages,
    'I5: the CPU touches the contents of pages that it can reach only',
  );
  assert(
    source < sys.hostPages,
    'I5: the CPU touches the contents of pages that it can reach only',
  );
  const start = source * PAGE_SIZE;
  sys.ram.copyWithin(target * PAGE_SIZE, start, start + PAGE_SIZE);
}

/** Copies the contents of one large folio to another (copy_user_large_folio). As copyHighpage. */
export function copyHugeFolio(sys: System, target: number, source: number): void {
  for (let i = 0; i < HPAGE_PMD_NR; i++) copyHighpage(sys, target + i, source + i);
}
