/**
 * What a core's loads and stores work on: RAM by unit of access, and the TLB. Plain typed arrays,
 * made before the core, so that code compiled for one core can have them as constants. Our own.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../base/units.ts';

/** Accesses between two looks for requests of the kernel. */
export const POLL_INTERVAL = 128;
/** Entries of the TLB for loads, and of that for stores; a power of two. */
export const TLB_ENTRIES = 1024;
/** In a tag: nothing cached. Equal to no address. */
export const NO_PAGE = NaN;

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
  readonly readTags = new Float64Array(TLB_ENTRIES).fill(NO_PAGE);
  readonly readWords = new Int32Array(TLB_ENTRIES);
  readonly writeTags = new Float64Array(TLB_ENTRIES).fill(NO_PAGE);
  readonly writeWords = new Int32Array(TLB_ENTRIES);
  /** One number: accesses until the next poll. */
  readonly fuel = new Int32Array(new ArrayBuffer(4)).fill(POLL_INTERVAL);

  constructor(ram: SharedArrayBuffer) {
    this.u8 = new Uint8Array(ram);
    this.u16 = new Uint16Array(ram);
    this.u32 = new Uint32Array(ram);
    this.u64 = new BigUint64Array(ram);
    this.f32 = new Float32Array(ram);
    this.f64 = new Float64Array(ram);
  }

  /** Forgets all translations. */
  flush(): void {
    this.readTags.fill(NO_PAGE);
    this.writeTags.fill(NO_PAGE);
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
