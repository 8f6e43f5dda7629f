/**
 * What a core's loads and stores work on: RAM by unit of access, and the TLB. Plain typed arrays,
 * made before the core, so that code compiled for one core can have them as constants. Our own.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../base/units.ts';
import { CORE_NUDGE, ControlMap } from './control.ts';
import type { CoreImage } from './core.ts';

/** Entries of the TLB for loads, and of that for stores; a power of two. */
export const TLB_ENTRIES = 1024;
/** In a tag: nothing cached. Equal to no address. */
export const NO_PAGE = NaN;

/** Behind the entries, in the arrays of tags: address and number of a slow access. */
export const SLOW_ADDRESS = TLB_ENTRIES;
export const SLOW_NUMBER = SLOW_ADDRESS + 1;
/** Behind the entries, in the arrays of words: place of the last load; result of a slow one. */
export const LAST_PLACE = TLB_ENTRIES;
export const SLOW_WORD = LAST_PLACE + 1;
/** All of these arrays are as long: then one check of an index serves for tag and word. */
const LENGTH = TLB_ENTRIES + 2;

/**
 * One core's view. An entry of the TLB is the address of a page and the first word of its frame;
 * the number of the page, modulo TLB_ENTRIES, is its place.
 *
 * A tag is compared with the whole address less its offset within the page: a fraction, NaN, a
 * negative number or one beyond user space is never found.
 */
export class CoreMemory {
  readonly u8: Uint8Array<SharedArrayBuffer>;
  readonly u16: Uint16Array<SharedArrayBuffer>;
  readonly u32: Uint32Array<SharedArrayBuffer>;
  readonly u64: BigUint64Array<SharedArrayBuffer>;
  readonly f32: Float32Array<SharedArrayBuffer>;
  readonly f64: Float64Array<SharedArrayBuffer>;
  readonly readTags = new Float64Array(LENGTH).fill(NO_PAGE);
  readonly readWords = new Int32Array(LENGTH);
  readonly writeTags = new Float64Array(LENGTH).fill(NO_PAGE);
  readonly writeWords = new Int32Array(LENGTH);
  /** The control words, two at a time; the number at `nudge` is 0, or NaN: see CORE_NUDGE. */
  readonly control: Float64Array<SharedArrayBuffer>;
  readonly nudge: number;

  constructor(image: CoreImage) {
    const { ram } = image;
    this.u8 = new Uint8Array(ram);
    this.u16 = new Uint16Array(ram);
    this.u32 = new Uint32Array(ram);
    this.u64 = new BigUint64Array(ram);
    this.f32 = new Float32Array(ram);
    this.f64 = new Float64Array(ram);
    this.control = new Float64Array(image.control);
    const block = ControlMap.attach(image.control, image.ringCapacity).block(image.slot);
    this.nudge = (block + CORE_NUDGE - 1) / 2;
  }

  /** Whether the kernel wants the core to poll: a plain look, as every fast access takes one. */
  get isNudged(): boolean {
    return this.control[this.nudge] !== 0;
  }

  /** Forgets all translations. */
  flush(): void {
    this.readTags.fill(NO_PAGE, 0, TLB_ENTRIES);
    this.writeTags.fill(NO_PAGE, 0, TLB_ENTRIES);
  }
}

/** Place of a page in the TLB. */
export function tlbIndex(addr: number): number {
  return (addr >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/** First byte of the page of an address; of what is no address, something that is no tag. */
export function tlbTag(addr: number): number {
  return addr - (addr & (PAGE_SIZE - 1));
}
