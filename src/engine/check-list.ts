/*
 * The check that stands before every submission: no engine moves a byte of a list that breaks it.
 *
 * Promises. A list passes when each row names an operation, covers at least one frame, stays inside
 * one memory (RAM or VRAM), asks for something its memory can do (only VRAM has an ADD), and when
 * no frame of the whole list has two writers, or a writer and a reader. That is what makes the jobs
 * of a list unordered. The same frame may be read any number of times.
 *
 * How. One byte per frame holds the number of the list that used it last and whether that was a
 * write, so nothing has to be cleared but every 127 lists, and each frame costs one load and one
 * store. Bytes, because frames are scattered: the stamps of 256 MiB stay in a core's cache.
 *
 * Locking. None; a scratch belongs to one engine. Source: our own.
 */
import { errno } from '../base/errno.ts';
import type { CommandList } from './command-list.ts';
import { JOB_ADD, JOB_CHECKSUM, JOB_COPY } from './command-list.ts';
import type { FrameGeometry } from './copy-engine.ts';

/** Stamps shift the list's number by one; the lowest bit says "written". */
const LAST_EPOCH = 127;

/** What `checkCommandList` remembers between calls; make one per engine. */
export interface CheckScratch {
  /** One stamp per frame: list number times two, plus one when that list writes the frame. */
  readonly stamps: Uint8Array;
  /** Number of the last list checked. */
  epoch: number;
}

/**
 * Makes the scratch memory of `checkCommandList`: a byte a frame.
 *
 * @param firstEpoch number before that of the first list; only tests of the wrap pass one
 */
export function createCheckScratch(geometry: FrameGeometry, firstEpoch = 0): CheckScratch {
  return {
    stamps: new Uint8Array(geometry.hostFrames + geometry.vramFrames),
    epoch: firstEpoch,
  };
}

/**
 * Checks a whole list.
 *
 * @param list rows to check; `firstBad` becomes the first offending row, or -1. A conflict of two
 * rows is charged to the later one.
 * @returns 0 or EINVAL
 *
 * Context: no lock; never waits; allocates nothing. Source: our own.
 */
export function checkCommandList(
  list: CommandList,
  geometry: FrameGeometry,
  scratch: CheckScratch,
): number {
  const writer = nextEpoch(scratch) * 2 + 1;
  const { hostFrames } = geometry;
  const frames = hostFrames + geometry.vramFrames;
  const bad = firstOffender(list, scratch.stamps, writer, hostFrames, frames);
  list.firstBad = bad;
  return bad < 0 ? 0 : errno.EINVAL;
}

function firstOffender(
  list: CommandList,
  stamps: Uint8Array,
  writer: number,
  hostFrames: number,
  frames: number,
): number {
  const { op, source, target, count, length } = list;
  for (let row = 0; row < length; row++) {
    // Single pages are the common row and the dearest per page, so they skip the loops over frames.
    if (count[row] === 1 && op[row] === JOB_COPY) {
      const from = source[row]!;
      const to = target[row]!;
      if (from >= frames || to >= frames) return row;
      if (stamps[from] === writer) return row;
      stamps[from] = writer - 1;
      if (stamps[to]! >= writer - 1) return row;
      stamps[to] = writer;
    } else if (!claimRow(list, row, stamps, writer, hostFrames, frames)) {
      return row;
    }
  }
  return -1;
}

/** Checks any row and stamps its frames. */
function claimRow(
  list: CommandList,
  row: number,
  stamps: Uint8Array,
  writer: number,
  hostFrames: number,
  frames: number,
): boolean {
  const op = list.op[row]!;
  const count = list.count[row]!;
  if (op < JOB_COPY || op > JOB_ADD || count === 0) return false;
  if (op === JOB_COPY || op === JOB_CHECKSUM) {
    if (!claimRead(stamps, writer, list.source[row]!, count, hostFrames, frames)) return false;
    if (op === JOB_CHECKSUM) return true;
  }
  const target = list.target[row]!;
  if (op === JOB_ADD && target < hostFrames) return false;
  return claimWrite(stamps, writer, target, count, hostFrames, frames);
}

/** True when `count` frames from `first` lie inside one of the two memories. */
function inOneMemory(first: number, count: number, hostFrames: number, frames: number): boolean {
  const end = first + count;
  return first < hostFrames ? end <= hostFrames : end <= frames;
}

function claimRead(
  stamps: Uint8Array,
  writer: number,
  first: number,
  count: number,
  hostFrames: number,
  frames: number,
): boolean {
  if (!inOneMemory(first, count, hostFrames, frames)) return false;
  const reader = writer - 1;
  const end = first + count;
  for (let frame = first; frame < end; frame++) {
    if (stamps[frame] === writer) return false;
    stamps[frame] = reader;
  }
  return true;
}

function claimWrite(
  stamps: Uint8Array,
  writer: number,
  first: number,
  count: number,
  hostFrames: number,
  frames: number,
): boolean {
  if (!inOneMemory(first, count, hostFrames, frames)) return false;
  const reader = writer - 1;
  const end = first + count;
  for (let frame = first; frame < end; frame++) {
    // Stamps of earlier lists are smaller: numbers only grow until the wrap clears them.
    if (stamps[frame]! >= reader) return false;
    stamps[frame] = writer;
  }
  return true;
}

/** The number of this list. After 127 lists the stamps start over. */
function nextEpoch(scratch: CheckScratch): number {
  if (scratch.epoch >= LAST_EPOCH) {
    scratch.stamps.fill(0);
    scratch.epoch = 0;
  }
  scratch.epoch += 1;
  return scratch.epoch;
}
