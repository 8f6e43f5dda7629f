/**
 * The pages of an object by index (lib/xarray.c as the page cache uses it): sparse, so that a file
 * may be far larger than memory. Slots come in chunks of 512, made with their first page and gone
 * with their last. 0 = no page.
 */
import { PTRS_PER_TABLE } from '../base/units.ts';

const CHUNK = PTRS_PER_TABLE;

interface Chunk {
  readonly slots: Uint32Array;
  used: number;
}

export class XArray {
  private readonly chunks = new Map<number, Chunk>();

  /** The pfn at an index, 0 when there is none (xa_load). */
  get(index: number): number {
    const chunk = this.chunks.get(Math.floor(index / CHUNK));
    return chunk === undefined ? 0 : chunk.slots[index % CHUNK]!;
  }

  /** Puts a pfn at an index, 0 to take it away (xa_store). @returns what was there. */
  set(index: number, pfn: number): number {
    const key = Math.floor(index / CHUNK);
    let chunk = this.chunks.get(key);
    if (chunk === undefined) {
      if (pfn === 0) return 0;
      chunk = { slots: new Uint32Array(CHUNK), used: 0 };
      this.chunks.set(key, chunk);
    }
    const slot = index % CHUNK;
    const old = chunk.slots[slot]!;
    chunk.slots[slot] = pfn;
    if (old === 0 && pfn !== 0) chunk.used++;
    if (old !== 0 && pfn === 0) chunk.used--;
    if (chunk.used === 0) this.chunks.delete(key);
    return old;
  }

  /** The lowest index from `from` on that has a page, `end` when none below it has (xa_find). */
  next(from: number, end: number): number {
    let index = from;
    while (index < end) {
      const key = Math.floor(index / CHUNK);
      const chunk = this.chunks.get(key);
      if (chunk === undefined) {
        index = this.keyAfter(key) * CHUNK;
        continue;
      }
      const last = Math.min(end, (key + 1) * CHUNK);
      for (; index < last; index++) if (chunk.slots[index % CHUNK] !== 0) return index;
    }
    return end;
  }

  /** The lowest chunk number above `key`, Infinity when there is none. */
  private keyAfter(key: number): number {
    let found = Infinity;
    for (const other of this.chunks.keys()) if (other > key && other < found) found = other;
    return found;
  }
}
