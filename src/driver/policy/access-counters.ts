/**
 * Access counters: a device counts what it uses over the link, by ranges, and notifies when a range
 * has been used often (uvm_gpu_access_counters.c: 2 MiB, threshold 256, 32 parts of 64 KiB).
 *
 * Migration on a notification is off in that driver; it is for tools, and so it is here.
 */
import { GROUP_PAGES } from './block.ts';

/** Sizes and thresholds, with the driver's defaults. */
export interface CounterParams {
  /** Pages of a range: 16 (64K), 512 (2M), 4096 (16M) or 4194304 (16G). */
  readonly rangePages: number;
  /** Uses that give a notification (256). */
  readonly threshold: number;
}

export const UVM_COUNTERS: CounterParams = { rangePages: 512, threshold: 256 };

/** One notification. */
export interface CounterNotification {
  readonly range: number;
  /** Uses since the range was cleared. */
  readonly uses: number;
  /** A bit for each of 32 parts of the range that was used. */
  readonly parts: number;
}

const PARTS = 32;

/** The counters of one device. */
export class AccessCounters {
  readonly notifications: CounterNotification[] = [];
  private readonly params: CounterParams;
  private readonly uses: Uint32Array;
  private readonly parts: Uint32Array;
  private readonly isNotified: Uint8Array;
  private readonly partPages: number;

  constructor(pageCount: number, params: CounterParams = UVM_COUNTERS) {
    const ranges = Math.ceil(pageCount / params.rangePages);
    this.params = params;
    this.uses = new Uint32Array(ranges);
    this.parts = new Uint32Array(ranges);
    this.isNotified = new Uint8Array(ranges);
    this.partPages = Math.max(GROUP_PAGES, params.rangePages / PARTS);
  }

  /**
   * Counts uses of a page.
   *
   * @returns whether they gave a notification: one per range until it is cleared
   */
  touch(page: number, times = 1): boolean {
    const { rangePages, threshold } = this.params;
    const range = Math.floor(page / rangePages);
    const part = Math.floor((page % rangePages) / this.partPages);
    const uses = this.uses[range]! + times;
    const parts = (this.parts[range]! | (1 << part)) >>> 0;
    this.uses[range] = uses;
    this.parts[range] = parts;
    if (this.isNotified[range] === 1 || uses < threshold) return false;
    this.isNotified[range] = 1;
    this.notifications.push({ range, uses, parts });
    return true;
  }

  /** Uses of a range since it was cleared. */
  usesOf(range: number): number {
    return this.uses[range]!;
  }

  /** Starts a range anew. */
  clear(range: number): void {
    this.uses[range] = 0;
    this.parts[range] = 0;
    this.isNotified[range] = 0;
  }
}
