/**
 * What threads that copy within RAM share: a board of chunks, from which each thread takes the next
 * one as long as there are any. Nobody is given a share: a thread that the host does not run takes
 * nothing, and the others are done without it. So copying by several threads is never slower than
 * by one for want of a processor, but for a thread that loses its processor within a chunk.
 *
 * A chunk is a few pieces, a piece is a run of pages. Whoever puts up chunks writes their pieces
 * first, then sets LEFT, from which claims count down; it puts up the next ones when all of these
 * are done. A claim that comes late finds either nothing left or a chunk of the next ones, whole.
 */
import type { AtomicsPort } from '../cpu/atomics-port.ts';
import { PAGE_SIZE } from '../base/units.ts';

/** Chunks that nobody has claimed; below zero when all are. */
export const LEFT = 0;
/** Chunks that are done, and how many there are. */
export const DONE = 16;
export const TOTAL = 32;
/** One word a helper, each in a cache line of its own: raised to wake it, negative to end it. */
export const FIRST_BELL = 48;
export const BELL_STEP = 16;

/** Pages of a chunk at least, where there are as many: 256 KiB, some 50 us of copying. */
export const CHUNK_PAGES = 64;
/** Pieces on a board at most. */
export const BOARD_PIECES = 4096;
/** In place of a source: the piece is cleared. */
export const NO_SOURCE = 0xffffffff;
const PIECE_WORDS = 3;

/** A board as another thread gets it. */
export interface BoardImage {
  readonly control: SharedArrayBuffer;
  readonly pieces: SharedArrayBuffer;
  readonly ends: SharedArrayBuffer;
}

/** See the file header. */
export class CopyBoard {
  readonly words: Int32Array;
  /** Source frame, target frame and frames of each piece. */
  readonly pieces: Uint32Array;
  /** For each chunk the number of the piece behind its last. */
  readonly ends: Uint32Array;
  readonly image: BoardImage;

  constructor(image: BoardImage) {
    this.image = image;
    this.words = new Int32Array(image.control);
    this.pieces = new Uint32Array(image.pieces);
    this.ends = new Uint32Array(image.ends);
  }

  /** A new board for so many helpers. */
  static create(helpers: number): CopyBoard {
    const shared = (words: number): SharedArrayBuffer => new SharedArrayBuffer(words * 4);
    return new CopyBoard({
      control: shared(FIRST_BELL + helpers * BELL_STEP),
      pieces: shared(BOARD_PIECES * PIECE_WORDS),
      ends: shared(BOARD_PIECES),
    });
  }

  /** The word by which a helper is woken. */
  static bell(helper: number): number {
    return FIRST_BELL + helper * BELL_STEP;
  }

  setPiece(at: number, source: number, target: number, count: number): void {
    this.pieces[at * PIECE_WORDS] = source;
    this.pieces[at * PIECE_WORDS + 1] = target;
    this.pieces[at * PIECE_WORDS + 2] = count;
  }

  /** Copies or clears the pieces of a chunk within `ram`. */
  runChunk(ram: Uint8Array, chunk: number): void {
    const { pieces, ends } = this;
    const end = ends[chunk]!;
    for (let piece = chunk === 0 ? 0 : ends[chunk - 1]!; piece < end; piece++) {
      const source = pieces[piece * PIECE_WORDS]!;
      const to = pieces[piece * PIECE_WORDS + 1]! * PAGE_SIZE;
      const bytes = pieces[piece * PIECE_WORDS + 2]! * PAGE_SIZE;
      if (source === NO_SOURCE) ram.fill(0, to, to + bytes);
      else ram.copyWithin(to, source * PAGE_SIZE, source * PAGE_SIZE + bytes);
    }
  }
}

/**
 * Takes chunks and does them until none is left.
 *
 * @param run Does one chunk. @returns how many this thread did.
 */
export function takeChunks(
  port: AtomicsPort,
  words: Int32Array,
  run: (chunk: number) => void,
): number {
  let taken = 0;
  for (;;) {
    const left = port.add(words, LEFT, -1);
    if (left <= 0) return taken;
    run(left - 1);
    taken += 1;
    const done = port.add(words, DONE, 1) + 1;
    // Who waits can't have put up other chunks before it has seen this one done.
    if (done === port.load(words, TOTAL)) port.notify(words, DONE);
  }
}

/** Puts up `chunks` chunks, whose pieces are on the board; all earlier ones are done. */
export function putUp(port: AtomicsPort, words: Int32Array, chunks: number): void {
  port.store(words, DONE, 0);
  port.store(words, TOTAL, chunks);
  port.store(words, LEFT, chunks);
}

/** Wakes a helper. */
export function ring(port: AtomicsPort, words: Int32Array, helper: number): void {
  const bell = CopyBoard.bell(helper);
  port.store(words, bell, (port.load(words, bell) + 1) & 0x3fffffff);
  port.notify(words, bell);
}

/** How often somebody looks, at least, before nothing is taken for done. */
const LOOKS = 10;

/**
 * Waits until all chunks are done.
 *
 * @param limitMs How long nothing may be done before this gives up. @returns false when it did.
 *
 * Context: blocks the thread.
 */
export function awaitChunks(
  port: AtomicsPort,
  words: Int32Array,
  chunks: number,
  limitMs: number,
): boolean {
  // What stops all threads for a while stops the helpers, too: it counts as one look.
  const lookMs = limitMs / LOOKS;
  let spentMs = 0;
  let lastMs = port.nowMs();
  for (let seen = port.load(words, DONE); seen !== chunks;) {
    port.wait(words, DONE, seen, lookMs);
    const now = port.load(words, DONE);
    const nowMs = port.nowMs();
    // A helper may wake this thread for chunks of before: that is no reason to give up.
    spentMs = now === seen ? spentMs + Math.min(nowMs - lastMs, lookMs) : 0;
    if (spentMs >= limitMs) return false;
    [seen, lastMs] = [now, nowMs];
  }
  return true;
}

/**
 * What a helper does as long as it lives: sleeps until it is woken, takes chunks, sleeps again.
 *
 * Context: blocks the thread.
 */
export function helpCopying(
  port: AtomicsPort,
  words: Int32Array,
  helper: number,
  run: (chunk: number) => void,
): void {
  const bell = CopyBoard.bell(helper);
  for (let heard = 0; heard >= 0; heard = port.load(words, bell)) {
    takeChunks(port, words, run);
    port.wait(words, bell, heard, Infinity);
  }
}
