/**
 * Where the copy suite gets its frames: the upper ends of RAM and of VRAM, taken without asking
 * the machine's allocators. That is safe only while no process runs in the machine, which the
 * runner sees to.
 *
 * Scattered means: folios at aligned slots of a region twice the size of what is taken (or as
 * much of it as there is), in shuffled order, so that neighbours in a batch are no neighbours in
 * memory.
 */

/** Draws for shuffling. */
export interface Shuffler {
  shuffle<T extends { length: number; [i: number]: number }>(items: T): T;
}

export class FramePool {
  readonly frames: number;
  private readonly first: number;
  private used = 0;

  /** Hands out the frames first to first + frames - 1. */
  constructor(first: number, frames: number) {
    this.first = first;
    this.frames = frames;
  }

  /** Takes everything back. */
  reset(): void {
    this.used = 0;
  }

  /**
   * Takes `units` folios of `folioPages` frames each.
   *
   * @param shuffler Scatters them; null gives one contiguous range in order.
   * @returns the first frame of each folio; null when there is no room.
   */
  take(units: number, folioPages: number, shuffler: Shuffler | null): Uint32Array | null {
    const start = Math.ceil((this.first + this.used) / folioPages) * folioPages;
    const room = Math.floor((this.first + this.frames - start) / folioPages);
    if (room < units) return null;
    const slots = shuffler === null ? units : Math.min(room, units * 2);
    const order = Uint32Array.from({ length: slots }, (_, slot) => slot);
    shuffler?.shuffle(order);
    this.used = start + slots * folioPages - this.first;
    return order.slice(0, units).map((slot) => start + slot * folioPages);
  }
}
