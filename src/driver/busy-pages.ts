/**
 * Pages that could not be had because others had them, and for how long that has gone on: whoever
 * serves faults tries again with each pass, as users of hmm_range_fault do on EBUSY, and gives up
 * after a number of passes. Our own; the kernel's users have a time instead
 * (HMM_RANGE_DEFAULT_TIMEOUT), but passes are what lets others get on here.
 *
 * Locking: none; pure.
 */

/** Passes in a row that a page could not be had in, after which it is refused. */
export const MAX_BUSY = 64;

/** See the file header. */
export class BusyPages {
  private readonly passes = new Map<number, number>();

  /** Notes that a page could not be had in a pass. @returns whether to try again in the next */
  mayWait(page: number): boolean {
    const passes = (this.passes.get(page) ?? 0) + 1;
    if (passes < MAX_BUSY) this.passes.set(page, passes);
    else this.passes.delete(page);
    return passes < MAX_BUSY;
  }

  /** The page could be had, or nobody wants it any more. */
  forget(page: number): void {
    this.passes.delete(page);
  }

  /** Others have got on: all pages have their whole time again. */
  clear(): void {
    this.passes.clear();
  }
}
