/**
 * Compares a fault service's books with the page tables (I41). Our own.
 *
 * Locking: none; no migration of the context's pages is in progress.
 */
import { assert } from '../base/assert.ts';
import type { ContextMap } from './context-map.ts';
import type { PageMover } from './page-mover.ts';
import { ON_DEVICE } from './policy/policy.ts';
import type { Residency } from './policy/residency.ts';

/** @param gone pages of which the service has yet to hear that they left */
export function checkBooks(
  space: Residency,
  map: ContextMap,
  mover: PageMover,
  gone: ReadonlySet<number>,
): void {
  let resident = 0;
  for (let page = 0; page < space.pageCount; page++) {
    const isHere = (space.where[page]! & ON_DEVICE) !== 0;
    const isMapped = space.mapped[page]! > 0 && space.remote[page] === 0;
    if (isHere) resident++;
    const isThere = mover.whereIs(page) === ON_DEVICE;
    // What others bring is found out when it is asked for.
    assert(isThere || !isHere || gone.has(page), 'I41: what is on the device is there');
    assert(isMapped === map.mapped.has(page), 'I41: what is mapped is known');
    assert(!isMapped || isHere, 'I41: what is mapped is on the device');
  }
  assert(resident === space.residentPages, 'I41: pages on the device are counted');
}
