/**
 * Fault-around: how much a driver brings home when the CPU faults on one page of device memory.
 * A copy of 64 KiB takes hardly longer than one of 4 KiB, so a fault brings an aligned window. It
 * doubles while faults follow each other, and halves with each fault somewhere else, down to the
 * page alone: a program that jumps about pays for few pages that it does not want.
 *
 * A policy of the driver, off unless the machine asks for it: lib/test_hmm migrates one page. Our
 * own; UVM's tree and the kernel's fault_around_bytes are the models.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { Vma } from '../mm/mm-types.ts';

/** Pages of the first window: 64 KiB. */
const FIRST_PAGES = 16;

/** What faults in one VMA looked like so far. */
interface Stream {
  /** Pages of the last window. */
  pages: number;
  /** The last window. */
  start: number;
  end: number;
}

/** A range of addresses, whole pages. */
export interface FaultWindow {
  start: number;
  end: number;
}

export class FaultAround {
  readonly maxPages: number;
  private readonly streams = new WeakMap<Vma, Stream>();
  private readonly window: FaultWindow = { start: 0, end: 0 };

  /** @param maxPages Largest window; a power of two, at most a page table. */
  constructor(maxPages: number) {
    this.maxPages = maxPages;
  }

  /**
   * The window for a fault on the page at `addr`: aligned to its size and clipped to the VMA. Valid
   * until the next call.
   */
  next(vma: Vma, addr: number): FaultWindow {
    const stream = this.streams.get(vma);
    const page = addr - (addr % PAGE_SIZE);
    const pages = stream === undefined ? FIRST_PAGES : following(stream, page);
    const bytes = Math.min(pages, this.maxPages) * PAGE_SIZE;
    const { window } = this;
    window.start = Math.max(vma.vmStart, page - (page % bytes));
    window.end = Math.min(vma.vmEnd, page - (page % bytes) + bytes);
    const { start, end } = window;
    if (stream === undefined) this.streams.set(vma, { pages, start, end });
    else Object.assign(stream, { pages: bytes / PAGE_SIZE, start, end });
    return window;
  }
}

/** Pages of the window after that one: faults that go on from it, upwards or down, double it. */
function following({ pages, start, end }: Stream, page: number): number {
  if (page === end || page + PAGE_SIZE === start) return pages * 2;
  return Math.max(1, pages / 2);
}
