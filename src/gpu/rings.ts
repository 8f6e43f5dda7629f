/*
 * Staging buffers between RAM and the device, in both directions, made once and reused.
 *
 * A ring has several sizes, because unmapping a buffer flushes all of what was mapped: a page in a
 * large slot would pay for the whole slot. Upload slots are kept mapped, so that taking one never
 * waits; after use they are mapped again and become free when the device has read them.
 * Readback slots are mapped for just the bytes that a flight put there. Uploads and readbacks have
 * rings of their own and never wait for each other.
 *
 * Locking. None; single-threaded. Leaves out: growing; a full ring makes the engine wait.
 */
import { PAGE_SIZE } from '../base/units.ts';
import { BUFFER_COPY_DST, BUFFER_COPY_SRC, BUFFER_MAP_READ, BUFFER_MAP_WRITE } from './flags.ts';

/**
 * Pages of the upload slots of each size class: 64 KiB, 512 KiB, a PMD folio's 2 MiB, and 4 MiB.
 * There are more of them because all of a slot that is unmapped is flushed, used or not.
 */
export const UPLOAD_SLOT_PAGES: readonly number[] = [16, 128, 512, 1024];
/** Those of readback slots, of which only what is used is mapped. */
export const READBACK_SLOT_PAGES: readonly number[] = [16, 128, 1024];

/** One staging buffer. */
export interface Slot {
  buffer: GPUBuffer;
  readonly pages: number;
  readonly bytes: number;
  /** The mapped range, while it is mapped. */
  range: ArrayBuffer | null;
}

/** A size class: its slots, and those of them that are free. */
interface SlotClass {
  readonly pages: number;
  readonly free: Slot[];
}

/** Slots for one direction. */
export class SlotRing {
  readonly largestPages: number;
  private readonly device: GPUDevice;
  private readonly usage: number;
  private readonly label: string;
  private readonly classes: readonly SlotClass[];

  /**
   * @param direction `upload` makes mapped MAP_WRITE slots, `readback` makes MAP_READ slots
   * @param slotPages pages of each size class, ascending
   * @param lanes slots of each class
   */
  constructor(
    device: GPUDevice,
    direction: 'upload' | 'readback',
    slotPages: readonly number[],
    lanes: number,
  ) {
    this.device = device;
    this.label = direction;
    this.usage =
      direction === 'upload'
        ? BUFFER_MAP_WRITE | BUFFER_COPY_SRC
        : BUFFER_MAP_READ | BUFFER_COPY_DST;
    this.classes = slotPages.map((pages) => ({
      pages,
      free: Array.from({ length: lanes }, () => this.makeSlot(pages)),
    }));
    this.largestPages = slotPages.at(-1) ?? 0;
  }

  /** Whether the slots of this ring are mapped while they are free. */
  get keepsMapped(): boolean {
    return (this.usage & BUFFER_MAP_WRITE) !== 0;
  }

  /**
   * Takes the smallest free slot that holds `pages` pages, or a largest one when none can; null
   * when the classes that would do are all in use.
   */
  take(pages: number): Slot | null {
    const wanted = Math.min(pages, this.largestPages);
    // By index, as in `give`: an iterator would be garbage of every flight.
    const { classes } = this;
    for (let i = 0; i < classes.length; i++) {
      const one = classes[i]!;
      if (one.pages < wanted) continue;
      const slot = one.free.pop();
      if (slot !== undefined) return slot;
    }
    return null;
  }

  /** Gives a slot back; an upload slot must be mapped again. */
  give(slot: Slot): void {
    const { classes } = this;
    for (let i = 0; i < classes.length; i++) {
      const one = classes[i]!;
      if (one.pages === slot.pages) one.free.push(slot);
    }
  }

  /** The buffers of all free slots. */
  *freeBuffers(): Iterable<GPUBuffer> {
    for (const { free } of this.classes) {
      for (const slot of free) yield slot.buffer;
    }
  }

  /** Replaces a slot whose buffer can't be mapped any more, and gives the new one back. */
  replace(slot: Slot): void {
    slot.buffer.destroy();
    this.give(this.makeSlot(slot.pages));
  }

  private makeSlot(pages: number): Slot {
    const buffer = this.device.createBuffer({
      label: `${this.label} slot of ${pages} pages`,
      size: pages * PAGE_SIZE,
      usage: this.usage,
      mappedAtCreation: this.keepsMapped,
    });
    const slot: Slot = { buffer, pages, bytes: pages * PAGE_SIZE, range: null };
    if (this.keepsMapped) slot.range = buffer.getMappedRange();
    return slot;
  }
}
