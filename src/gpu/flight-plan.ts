/*
 * What one flight does, as columns: a flight is the part of a list that fits into one upload slot,
 * one readback slot, the bounce buffer and the job buffer, and goes to the device in one
 * submission.
 *
 * A segment is a run of pages of one row that lies in one arena. Columns that a kind does not use
 * are undefined.
 *
 * Locking. None; one plan per flight, reused. Source: our own.
 */

/** RAM to VRAM through the upload slot (or `writeBuffer`). */
export const SEGMENT_UPLOAD = 1;
/** VRAM to RAM through the readback slot. */
export const SEGMENT_DOWNLOAD = 2;
/** VRAM to VRAM inside one arena, by kernel or through the bounce buffer. */
export const SEGMENT_WITHIN = 3;
/** VRAM to VRAM between two arenas. */
export const SEGMENT_ACROSS = 4;
/** Zero fill of VRAM. */
export const SEGMENT_CLEAR = 5;
/** Addition to VRAM. */
export const SEGMENT_ADD = 6;
/** Checksum of VRAM. */
export const SEGMENT_SUM = 7;
/** One more than the largest kind. */
export const SEGMENT_KINDS = 8;

/** See the file header. */
export class FlightPlan {
  readonly capacity: number;
  length = 0;
  readonly kind: Uint8Array;
  /** Row of the list. */
  readonly row: Uint32Array;
  readonly pages: Uint32Array;
  /** Arena and first frame in it: target, or source of DOWNLOAD and SUM. */
  readonly arena: Uint32Array;
  readonly frame: Uint32Array;
  /** Source of WITHIN and ACROSS. */
  readonly sourceArena: Uint32Array;
  readonly sourceFrame: Uint32Array;
  /** First RAM frame of UPLOAD and DOWNLOAD. */
  readonly host: Uint32Array;
  /** First page in the slot (UPLOAD, DOWNLOAD) or bounce buffer (WITHIN, ACROSS). */
  readonly slot: Uint32Array;
  /** ADD: operand. SUM: index of the segment's first page in its row. */
  readonly argument: Uint32Array;
  /** SUM: number of the segment's first result. */
  readonly result: Uint32Array;
  /** 1 when the row is complete with this segment. */
  readonly ends: Uint8Array;
  /** Pages of each kind. */
  readonly pagesOf = new Uint32Array(SEGMENT_KINDS);
  /** Pages of the bounce buffer that the segments use. */
  bouncePages = 0;
  /** Kernel jobs that the segments may need; a page that changes arenas needs two. */
  jobs = 0;
  /** Whether `makePlain` made it. */
  isPlain = false;
  /** Whether `makeWhole` did: but for `length`, the rest says nothing then. */
  isWhole = false;
  /** What the columns hold that `makePlain` fills, and how far. */
  private plainKind = 0;
  private plainLength = 0;

  constructor(capacity: number) {
    const column = (): Uint32Array => new Uint32Array(capacity);
    this.capacity = capacity;
    this.kind = new Uint8Array(capacity);
    this.row = column();
    this.pages = column();
    this.arena = column();
    this.frame = column();
    this.sourceArena = column();
    this.sourceFrame = column();
    this.host = column();
    this.slot = column();
    this.argument = column();
    this.result = column();
    this.ends = new Uint8Array(capacity);
  }

  reset(): void {
    this.length = 0;
    this.isWhole = false;
    this.pagesOf.fill(0);
    this.bouncePages = 0;
    this.jobs = 0;
  }

  /**
   * Makes the empty plan one of `length` segments of `kind`, each of one page, a whole row, and in
   * the slot of its number. The caller fills `row`, `arena`, `frame`, and `host` or what only moves
   * have; the other columns are alike in all such plans and stay from flight to flight.
   */
  makePlain(kind: number, length: number): void {
    if (this.plainKind !== kind || this.plainLength < length) {
      this.kind.fill(kind, 0, length);
      this.pages.fill(1, 0, length);
      this.ends.fill(1, 0, length);
      for (let i = 0; i < length; i++) this.slot[i] = i;
      this.plainKind = kind;
      this.plainLength = length;
    }
    this.isPlain = true;
    this.length = length;
    this.pagesOf[kind] = length;
    this.jobs = length;
  }

  /** Makes it the plan of a whole list of `length` rows, each of which uploads a page. */
  makeWhole(length: number): void {
    this.isWhole = true;
    this.length = length;
  }

  /** Says that any column may be written to from now on. */
  makeMixed(): void {
    this.isPlain = false;
    this.plainLength = 0;
  }

  /** True when the plan has a segment of this kind. */
  has(kind: number): boolean {
    return this.pagesOf[kind] !== 0;
  }

  /** Appends a segment and returns its index; the caller fills the columns of its kind. */
  append(kind: number, row: number, pages: number, arena: number, frame: number): number {
    const index = this.length;
    this.length = index + 1;
    this.kind[index] = kind;
    this.row[index] = row;
    this.pages[index] = pages;
    this.arena[index] = arena;
    this.frame[index] = frame;
    this.ends[index] = 0;
    this.pagesOf[kind] = this.pagesOf[kind]! + pages;
    this.jobs += kind === SEGMENT_ACROSS ? 2 * pages : pages;
    if (kind === SEGMENT_WITHIN || kind === SEGMENT_ACROSS) this.bouncePages += pages;
    return index;
  }
}
