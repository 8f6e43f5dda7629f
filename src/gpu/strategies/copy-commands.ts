/*
 * Recording copies with `copyBufferToBuffer` and clears with `clearBuffer`, in three grains: a
 * command a page, a command a segment, or a command for each run of segments that are neighbours on
 * both sides. The strategies `commands`, `staging` and `runs` are these grains.
 *
 * WebGPU forbids a copy inside one buffer, so a move inside an arena goes through the bounce
 * buffer: first all reads, then all writes.
 *
 * Locking. None. Allocates nothing per page. Source: our own.
 */
import { PAGE_SIZE } from '../../base/units.ts';
import {
  SEGMENT_ACROSS,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from '../flight-plan.ts';
import type { Recording, Strategy } from './strategy.ts';
import type { StrategyName } from '../../engine/copy-engine.ts';

/** How much one command covers. */
export type CopyGrain = 'page' | 'segment' | 'run';

/** Records `pages` pages between an arena frame and a page of a staging or bounce buffer. */
type Emit = (
  recording: Recording,
  arena: number,
  frame: number,
  slot: number,
  pages: number,
) => void;

/** Makes the strategy of a grain. */
export function copyStrategy(name: StrategyName, grain: CopyGrain): Strategy {
  return {
    name,
    sortsRows: grain === 'run',
    stagesUploads: true,
    movesInPlace: false,
    upload: (recording) => eachRun(recording, SEGMENT_UPLOAD, grain, emitUpload),
    download: (recording) => eachRun(recording, SEGMENT_DOWNLOAD, grain, emitDownload),
    move: (recording) => moveByCopies(recording, grain),
    clear: (recording) => eachRun(recording, SEGMENT_CLEAR, grain, emitClear),
  };
}

function moveByCopies(recording: Recording, grain: CopyGrain): void {
  const { plan } = recording;
  if (plan.has(SEGMENT_WITHIN)) {
    eachRun(recording, SEGMENT_WITHIN, grain, emitToBounce, plan.sourceFrame);
    eachRun(recording, SEGMENT_WITHIN, grain, emitFromBounce);
  }
  if (plan.has(SEGMENT_ACROSS)) moveAcross(recording, grain);
}

/** Calls `emit` for each command's worth of pages of the segments of a kind. */
function eachRun(
  recording: Recording,
  kind: number,
  grain: CopyGrain,
  emit: Emit,
  frames: Uint32Array = recording.plan.frame,
): void {
  if (recording.plan.isPlain) {
    eachPlainRun(recording, grain, emit, frames);
    return;
  }
  const { kind: kinds, arena: arenas, slot: slots, pages: counts, length } = recording.plan;
  const joins = grain === 'run';
  let arena = -1;
  let frame = 0;
  let slot = 0;
  let pages = 0;
  for (let i = 0; i < length; i++) {
    if (kinds[i] !== kind) continue;
    const nextFrame = frames[i]!;
    const nextSlot = slots[i]!;
    const follows =
      joins &&
      nextFrame === frame + pages &&
      arenas[i] === arena &&
      (nextSlot === slot + pages || kind === SEGMENT_CLEAR);
    if (follows) {
      pages += counts[i]!;
      continue;
    }
    if (pages > 0) emitGrain(recording, grain, emit, arena, frame, slot, pages);
    arena = arenas[i]!;
    frame = nextFrame;
    slot = nextSlot;
    pages = counts[i]!;
  }
  if (pages > 0) emitGrain(recording, grain, emit, arena, frame, slot, pages);
}

/** The same where all segments are of one page each, in the slot of its number. */
function eachPlainRun(
  recording: Recording,
  grain: CopyGrain,
  emit: Emit,
  frames: Uint32Array,
): void {
  const { arena: arenas, length } = recording.plan;
  for (let first = 0, end = 0; first < length; first = end) {
    const arena = arenas[first]!;
    const ahead = frames[first]! - first;
    end = first + 1;
    if (grain === 'run') {
      while (end < length && frames[end]! - end === ahead && arenas[end] === arena) end += 1;
    }
    emitGrain(recording, grain, emit, arena, frames[first]!, first, end - first);
  }
}

function emitGrain(
  recording: Recording,
  grain: CopyGrain,
  emit: Emit,
  arena: number,
  frame: number,
  slot: number,
  pages: number,
): void {
  const { stats } = recording.resources;
  if (grain !== 'page') {
    stats.copyCommands += 1;
    emit(recording, arena, frame, slot, pages);
    return;
  }
  stats.copyCommands += pages;
  for (let page = 0; page < pages; page++) {
    emit(recording, arena, frame + page, slot + page, 1);
  }
}

function emitUpload(r: Recording, arena: number, frame: number, slot: number, pages: number): void {
  const target = r.resources.vram.arenas[arena]!;
  const bytes = pages * PAGE_SIZE;
  r.encoder.copyBufferToBuffer(r.upload!, slot * PAGE_SIZE, target, frame * PAGE_SIZE, bytes);
}

function emitDownload(
  r: Recording,
  arena: number,
  frame: number,
  slot: number,
  pages: number,
): void {
  const source = r.resources.vram.arenas[arena]!;
  const bytes = pages * PAGE_SIZE;
  r.encoder.copyBufferToBuffer(source, frame * PAGE_SIZE, r.readback!, slot * PAGE_SIZE, bytes);
}

function emitToBounce(
  r: Recording,
  arena: number,
  frame: number,
  slot: number,
  pages: number,
): void {
  const { vram, bounce } = r.resources;
  const source = vram.arenas[arena]!;
  const bytes = pages * PAGE_SIZE;
  r.encoder.copyBufferToBuffer(source, frame * PAGE_SIZE, bounce, slot * PAGE_SIZE, bytes);
}

function emitFromBounce(
  r: Recording,
  arena: number,
  frame: number,
  slot: number,
  pages: number,
): void {
  const { vram, bounce } = r.resources;
  const target = vram.arenas[arena]!;
  const bytes = pages * PAGE_SIZE;
  r.encoder.copyBufferToBuffer(bounce, slot * PAGE_SIZE, target, frame * PAGE_SIZE, bytes);
}

function emitClear(r: Recording, arena: number, frame: number, _slot: number, pages: number): void {
  r.encoder.clearBuffer(r.resources.vram.arenas[arena]!, frame * PAGE_SIZE, pages * PAGE_SIZE);
}

/** Moves between different arenas, which one command can do directly. */
function moveAcross(recording: Recording, grain: CopyGrain): void {
  const { plan, encoder, resources } = recording;
  const { arenas } = resources.vram;
  for (let i = 0; i < plan.length; i++) {
    if (plan.kind[i] !== SEGMENT_ACROSS) continue;
    const source = arenas[plan.sourceArena[i]!]!;
    const target = arenas[plan.arena[i]!]!;
    const step = grain === 'page' ? 1 : plan.pages[i]!;
    for (let page = 0; page < plan.pages[i]!; page += step) {
      const from = (plan.sourceFrame[i]! + page) * PAGE_SIZE;
      const to = (plan.frame[i]! + page) * PAGE_SIZE;
      resources.stats.copyCommands += 1;
      encoder.copyBufferToBuffer(source, from, target, to, step * PAGE_SIZE);
    }
  }
}
