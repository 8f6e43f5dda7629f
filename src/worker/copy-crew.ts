/**
 * Threads that copy within RAM together with the kernel's: the CPU's answer to copy offload. What
 * they share is in copy-board.ts.
 */
import { assert } from '../base/assert.ts';
import { atomicsOf } from '../cpu/atomics-port.ts';
import { JOB_CLEAR, JOB_COPY } from '../engine/command-list.ts';
import type { CommandList } from '../engine/command-list.ts';
import type { HostCopiers } from '../engine/host-copiers.ts';
import { isHostJob } from '../engine/host-jobs.ts';
import {
  BOARD_PIECES,
  CHUNK_PAGES,
  CopyBoard,
  NO_SOURCE,
  awaitChunks,
  helpCopying,
  putUp,
  ring,
  takeChunks,
} from './copy-board.ts';
import type { BoardImage } from './copy-board.ts';

/** Most threads that copy together, the kernel's included. */
export const MAX_COPY_THREADS = 16;
/** Below 4 MiB it takes longer to wake others, whose caches are cold, than they save. */
const LEAST_SHARED_CHUNKS = 16;
/** How long a helper may be in the middle of a chunk before the machine is given up. */
const LIMIT_MS = 10_000;

/** What a helper's thread is started with. */
export interface CopyBoot {
  readonly board: BoardImage;
  readonly ram: SharedArrayBuffer;
  readonly helper: number;
}

/** How helpers are started on a host. */
export interface CopyThreads {
  /** Resolves when the thread runs; rejects where it can't be started. */
  start(boot: CopyBoot): Promise<{ terminate(): void }>;
}

const port = atomicsOf(() => performance.now());

/** The life of a helper's thread. Context: blocks it until the crew is closed. */
export function runHelper({ board: image, ram, helper }: CopyBoot): void {
  const board = new CopyBoard(image);
  const bytes = new Uint8Array(ram);
  helpCopying(port, board.words, helper, (chunk) => board.runChunk(bytes, chunk));
}

/** See the file header. */
export class CopyCrew implements HostCopiers {
  readonly threads: number;
  active: number;
  /** Chunks of a list at least, for others to be woken. */
  leastShared = LEAST_SHARED_CHUNKS;
  private readonly board: CopyBoard;
  private readonly helpers: readonly { terminate(): void }[];
  private readonly runChunk: (chunk: number) => void;
  private pieces = 0;
  private chunks = 0;
  /** Pages of the chunk that is being filled. */
  private pages = 0;

  private constructor(
    ram: Uint8Array,
    board: CopyBoard,
    helpers: readonly { terminate(): void }[],
  ) {
    this.board = board;
    this.helpers = helpers;
    this.threads = helpers.length + 1;
    this.active = this.threads;
    this.runChunk = (chunk) => board.runChunk(ram, chunk);
  }

  /**
   * Starts the other threads.
   *
   * @param ram the shared memory from its first frame on
   * @param threads how many threads copy, the calling one included: 2 to MAX_COPY_THREADS
   * @returns the crew; rejects where threads can't be started or this thread may not wait
   */
  static async start(ram: Uint8Array, threads: number, host: CopyThreads): Promise<CopyCrew> {
    assert(threads >= 2 && threads <= MAX_COPY_THREADS, 'a crew has 2 to 16 threads');
    assert(ram.byteOffset === 0, 'frame 0 is the start of the buffer');
    const board = CopyBoard.create(threads - 1);
    // Throws in a page's main thread, which may not sleep.
    Atomics.wait(board.words, 0, 1, 0);
    const boot = { board: board.image, ram: ram.buffer as SharedArrayBuffer };
    const starts = Array.from({ length: threads - 1 }, (_, helper) =>
      host.start({ ...boot, helper }),
    );
    const ended = await Promise.allSettled(starts);
    const helpers = ended.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const crew = new CopyCrew(ram, board, helpers);
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed === undefined) return crew;
    crew.close();
    throw failed.reason;
  }

  /** See HostCopiers. */
  run(list: CommandList, hostFrames: number): void {
    for (let row = 0; row < list.length; row++) {
      const op = list.op[row]!;
      if ((op !== JOB_COPY && op !== JOB_CLEAR) || !isHostJob(list, row, hostFrames)) continue;
      const source = op === JOB_CLEAR ? NO_SOURCE : list.source[row]!;
      this.add(source, list.target[row]!, list.count[row]!);
    }
    this.flush();
  }

  close(): void {
    this.helpers.forEach((thread, helper) => {
      const bell = CopyBoard.bell(helper);
      port.store(this.board.words, bell, -1);
      port.notify(this.board.words, bell);
      thread.terminate();
    });
  }

  /** Puts pages of a row on the board, in pieces of a chunk's size. */
  private add(source: number, target: number, count: number): void {
    for (let at = 0; at < count;) {
      const pages = Math.min(count - at, CHUNK_PAGES - this.pages);
      const from = source === NO_SOURCE ? NO_SOURCE : source + at;
      this.board.setPiece(this.pieces, from, target + at, pages);
      this.pieces += 1;
      this.pages += pages;
      at += pages;
      if (this.pages === CHUNK_PAGES) this.endChunk();
      if (this.pieces === BOARD_PIECES) this.flush();
    }
  }

  private endChunk(): void {
    this.board.ends[this.chunks] = this.pieces;
    this.chunks += 1;
    this.pages = 0;
  }

  /** Does all that is on the board. */
  private flush(): void {
    if (this.pages > 0) this.endChunk();
    const { chunks } = this;
    const { words } = this.board;
    const isShared = chunks >= this.leastShared;
    const helpers = isShared ? Math.min(this.active, this.threads, chunks) - 1 : 0;
    if (helpers < 1) {
      for (let chunk = 0; chunk < chunks; chunk++) this.runChunk(chunk);
    } else {
      putUp(port, words, chunks);
      for (let helper = 0; helper < helpers; helper++) ring(port, words, helper);
      takeChunks(port, words, this.runChunk);
      assert(awaitChunks(port, words, chunks, LIMIT_MS), 'a copy thread is stuck in its work');
    }
    this.pieces = 0;
    this.chunks = 0;
  }
}
