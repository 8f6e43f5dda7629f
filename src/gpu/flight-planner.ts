/*
 * Takes rows of a list, in order, until a flight is full.
 *
 * Promises. A segment lies in one arena. A row that would fit into an empty flight is not cut in
 * two just because this flight is nearly full: the next one takes it whole. Only rows larger than a
 * slot, and rows that cross arenas, become several segments.
 *
 * Locking. None. Source: our own.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { JOB_COPY } from '../engine/command-list.ts';
import type { FlightPlan } from './flight-plan.ts';
import {
  SEGMENT_ACROSS,
  SEGMENT_ADD,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_SUM,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from './flight-plan.ts';
import type { ListRun } from './list-run.ts';
import {
  ROUTE_ADD,
  ROUTE_CLEAR,
  ROUTE_DOWNLOAD,
  ROUTE_HOST,
  ROUTE_MOVE,
  ROUTE_SUM,
  ROUTE_UPLOAD,
  routeOf,
} from './list-run.ts';

/** What a flight can hold. */
export interface FlightRoom {
  uploadPages: number;
  /** Bytes of the readback slot, shared by downloaded pages and four bytes a checksummed page. */
  readBytes: number;
  bouncePages: number;
  jobs: number;
}

/** How frames lie in memory. */
export interface FrameLayout {
  readonly hostFrames: number;
  readonly framesPerArena: number;
}

const SUM_BYTES = 4;

/**
 * Fills `plan` from the run's next rows.
 *
 * @param order rows in visiting order, see `RowOrder`
 *
 * Context: no lock; never waits; allocates nothing. Source: our own.
 */
export function planFlight(
  run: ListRun,
  order: Uint32Array,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): void {
  plan.reset();
  if (run.plainRoute !== ROUTE_HOST) planPlainPages(run, order, plan, room, layout);
  else planRows(run, order, plan, room, layout);
  assert(plan.length > 0, 'a flight has no room for a single page');
}

function planRows(
  run: ListRun,
  order: Uint32Array,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): void {
  plan.makeMixed();
  while (run.cursor < run.deviceRows) {
    if (run.offset === 0) {
      planSinglePages(run, order, plan, room, layout);
      planSingleMoves(run, order, plan, room, layout);
    }
    if (run.cursor === run.deviceRows) break;
    if (!planRow(run, order[run.cursor]!, plan, room, layout)) break;
  }
}

/**
 * Plans as many rows as fit of a list in which each copies one page, all in one direction. What it
 * does for them is what `planSinglePages` and `planSingleMoves` do, at a fifth of the time: columns
 * in which all such plans are alike are filled once.
 */
function planPlainPages(
  run: ListRun,
  order: Uint32Array,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): void {
  const { plainRoute: route, list } = run;
  const isDownload = route === ROUTE_DOWNLOAD;
  const fits = Math.min(plan.capacity, pagesThatFit(route, plan, room));
  const length = Math.min(run.deviceRows - run.cursor, fits);
  plan.makePlain(segmentKind(route), length);
  const vram = isDownload ? list.source : list.target;
  const other = isDownload ? list.target : list.source;
  const others = route === ROUTE_MOVE ? plan.sourceFrame : plan.host;
  const last = run.isSorted
    ? takeRows(order, run.cursor, length, vram, other, plan.row, plan.frame, others)
    : takeInOrder(run.cursor, length, vram, other, plan.row, plan.frame, others);
  placePages(length, last, layout, plan);
  if (route === ROUTE_MOVE) placeSources(length, layout.hostFrames, plan);
  else if (isDownload) run.downloadPagesLeft -= length;
  else run.uploadPagesLeft -= length;
  run.cursor += length;
}

// Loops of their own over few columns: the compiler keeps these in registers. Both answer the last
// frame of `vram`, and leave in `frame` and `others` the frames as the list names them.

function takeRows(
  order: Uint32Array,
  from: number,
  length: number,
  vram: Uint32Array,
  other: Uint32Array,
  rows: Uint32Array,
  frame: Uint32Array,
  others: Uint32Array,
): number {
  let last = 0;
  for (let i = 0; i < length; i++) {
    const row = order[from + i]!;
    const at = vram[row]!;
    rows[i] = row;
    frame[i] = at;
    others[i] = other[row]!;
    if (at > last) last = at;
  }
  return last;
}

function takeInOrder(
  from: number,
  length: number,
  vram: Uint32Array,
  other: Uint32Array,
  rows: Uint32Array,
  frame: Uint32Array,
  others: Uint32Array,
): number {
  let last = 0;
  for (let i = 0; i < length; i++) {
    const at = vram[from + i]!;
    rows[i] = from + i;
    frame[i] = at;
    others[i] = other[from + i]!;
    if (at > last) last = at;
  }
  return last;
}

/** Sources of moves lie in the only arena, too. */
function placeSources(length: number, first: number, plan: FlightPlan): void {
  const { sourceFrame } = plan;
  for (let i = 0; i < length; i++) sourceFrame[i] = sourceFrame[i]! - first;
  plan.sourceArena.fill(0, 0, length);
  plan.bouncePages = length;
}

/** Finds the arena of each page. */
function placePages(
  length: number,
  last: number,
  { hostFrames, framesPerArena }: FrameLayout,
  { frame, arena }: FlightPlan,
): void {
  if (last - hostFrames < framesPerArena) {
    for (let i = 0; i < length; i++) frame[i] = frame[i]! - hostFrames;
    arena.fill(0, 0, length);
    return;
  }
  for (let i = 0; i < length; i++) {
    const local = frame[i]! - hostFrames;
    const index = Math.floor(local / framesPerArena);
    arena[i] = index;
    frame[i] = local - index * framesPerArena;
  }
}

/**
 * Plans the rows ahead that copy one page between RAM and VRAM, as long as they fit: the most
 * common rows by far, and the ones whose cost per page matters. What it would do for them is what
 * `planRow` does, at a third of the time.
 */
function planSinglePages(
  run: ListRun,
  order: Uint32Array,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): void {
  // Columns are constants here: what runs rarely is not compiled well enough to lift them out.
  const { op, source, target, count } = run.list;
  const { kind, row: rows, pages, arena: arenas, frame, host, slot, ends } = plan;
  const { hostFrames, framesPerArena } = layout;
  const uploadLimit = pagesThatFit(ROUTE_UPLOAD, plan, room) + plan.pagesOf[SEGMENT_UPLOAD]!;
  const downloadLimit = pagesThatFit(ROUTE_DOWNLOAD, plan, room) + plan.pagesOf[SEGMENT_DOWNLOAD]!;
  const lengthLimit = Math.min(plan.capacity, plan.length + room.jobs - plan.jobs);
  let { cursor } = run;
  let { length } = plan;
  let uploads = plan.pagesOf[SEGMENT_UPLOAD]!;
  let downloads = plan.pagesOf[SEGMENT_DOWNLOAD]!;
  for (; cursor < run.deviceRows && length < lengthLimit; cursor++, length++) {
    const row = order[cursor]!;
    if (count[row] !== 1 || op[row] !== JOB_COPY) break;
    const from = source[row]!;
    const to = target[row]!;
    const isUpload = from < hostFrames;
    if (isUpload ? uploads >= uploadLimit : to >= hostFrames || downloads >= downloadLimit) break;
    const local = (isUpload ? to : from) - hostFrames;
    const arena = local < framesPerArena ? 0 : Math.floor(local / framesPerArena);
    kind[length] = isUpload ? SEGMENT_UPLOAD : SEGMENT_DOWNLOAD;
    rows[length] = row;
    pages[length] = 1;
    arenas[length] = arena;
    frame[length] = local - arena * framesPerArena;
    host[length] = isUpload ? from : to;
    slot[length] = isUpload ? uploads++ : downloads++;
    ends[length] = 1;
  }
  run.uploadPagesLeft -= uploads - plan.pagesOf[SEGMENT_UPLOAD]!;
  run.downloadPagesLeft -= downloads - plan.pagesOf[SEGMENT_DOWNLOAD]!;
  run.cursor = cursor;
  plan.jobs += length - plan.length;
  plan.pagesOf[SEGMENT_UPLOAD] = uploads;
  plan.pagesOf[SEGMENT_DOWNLOAD] = downloads;
  plan.length = length;
}

/** The same for rows that move one page inside VRAM. */
function planSingleMoves(
  run: ListRun,
  order: Uint32Array,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): void {
  const { op, source, target, count } = run.list;
  const { kind, row: rows, pages, arena: arenas, frame, slot, ends } = plan;
  const { sourceArena: fromArenas, sourceFrame } = plan;
  const { hostFrames, framesPerArena } = layout;
  const fits = pagesThatFit(ROUTE_MOVE, plan, room);
  const end = Math.min(plan.capacity, plan.length + fits);
  const last = run.deviceRows;
  let { cursor } = run;
  let { length, bouncePages } = plan;
  let across = 0;
  for (; cursor < last && length < end; cursor++, length++, bouncePages++) {
    const row = order[cursor]!;
    if (count[row] !== 1 || op[row] !== JOB_COPY) break;
    const from = source[row]! - hostFrames;
    const to = target[row]! - hostFrames;
    if (from < 0 || to < 0) break;
    const arena = to < framesPerArena ? 0 : Math.floor(to / framesPerArena);
    const sourceArena = from < framesPerArena ? 0 : Math.floor(from / framesPerArena);
    const isAcross = arena !== sourceArena;
    if (isAcross) across += 1;
    kind[length] = isAcross ? SEGMENT_ACROSS : SEGMENT_WITHIN;
    rows[length] = row;
    pages[length] = 1;
    arenas[length] = arena;
    frame[length] = to - arena * framesPerArena;
    fromArenas[length] = sourceArena;
    sourceFrame[length] = from - sourceArena * framesPerArena;
    slot[length] = bouncePages;
    ends[length] = 1;
  }
  const moves = length - plan.length;
  run.cursor = cursor;
  plan.jobs += moves + across;
  plan.pagesOf[SEGMENT_ACROSS] = plan.pagesOf[SEGMENT_ACROSS]! + across;
  plan.pagesOf[SEGMENT_WITHIN] = plan.pagesOf[SEGMENT_WITHIN]! + moves - across;
  plan.bouncePages = bouncePages;
  plan.length = length;
}

/** Plans what fits of a row; true when the row is complete. */
function planRow(
  run: ListRun,
  row: number,
  plan: FlightPlan,
  room: FlightRoom,
  layout: FrameLayout,
): boolean {
  const route = routeOf(run.list, row, layout.hostFrames);
  const count = run.list.count[row]!;
  const fits = pagesThatFit(route, plan, room);
  if (run.offset === 0 && count > fits && plan.length > 0) {
    if (count <= pagesThatEverFit(route, room)) return false;
  }
  let left = Math.min(count - run.offset, fits);
  while (left > 0 && plan.length < plan.capacity) {
    const pages = appendSegment(run, row, route, plan, left, layout);
    run.offset += pages;
    left -= pages;
  }
  if (run.offset < count) return false;
  plan.ends[plan.length - 1] = 1;
  run.cursor += 1;
  run.offset = 0;
  return true;
}

/** Appends a segment of at most `most` pages from the run's position; returns its pages. */
function appendSegment(
  run: ListRun,
  row: number,
  route: number,
  plan: FlightPlan,
  most: number,
  layout: FrameLayout,
): number {
  const { list, offset } = run;
  const { hostFrames, framesPerArena } = layout;
  const source = list.source[row]! + offset;
  const target = list.target[row]! + offset;
  const bySource = route === ROUTE_DOWNLOAD || route === ROUTE_SUM;
  const local = (bySource ? source : target) - hostFrames;
  const arena = Math.floor(local / framesPerArena);
  const frame = local - arena * framesPerArena;
  const pages = Math.min(most, framesPerArena - frame);
  if (route === ROUTE_MOVE) {
    return appendMove(plan, row, pages, arena, frame, source - hostFrames, framesPerArena);
  }
  const index = plan.append(segmentKind(route), row, pages, arena, frame);
  if (route === ROUTE_UPLOAD) {
    plan.host[index] = source;
    plan.slot[index] = plan.pagesOf[SEGMENT_UPLOAD]! - pages;
    run.uploadPagesLeft -= pages;
  } else if (route === ROUTE_DOWNLOAD) {
    plan.host[index] = target;
    plan.slot[index] = plan.pagesOf[SEGMENT_DOWNLOAD]! - pages;
    run.downloadPagesLeft -= pages;
  } else if (route === ROUTE_SUM) {
    plan.argument[index] = offset;
    run.sumPagesLeft -= pages;
  } else {
    plan.argument[index] = list.operand[row]!;
  }
  return pages;
}

function appendMove(
  plan: FlightPlan,
  row: number,
  most: number,
  arena: number,
  frame: number,
  source: number,
  framesPerArena: number,
): number {
  const sourceArena = Math.floor(source / framesPerArena);
  const sourceFrame = source - sourceArena * framesPerArena;
  const pages = Math.min(most, framesPerArena - sourceFrame);
  const kind = sourceArena === arena ? SEGMENT_WITHIN : SEGMENT_ACROSS;
  const slot = plan.bouncePages;
  const index = plan.append(kind, row, pages, arena, frame);
  plan.sourceArena[index] = sourceArena;
  plan.sourceFrame[index] = sourceFrame;
  plan.slot[index] = slot;
  return pages;
}

function segmentKind(route: number): number {
  switch (route) {
    case ROUTE_UPLOAD:
      return SEGMENT_UPLOAD;
    case ROUTE_DOWNLOAD:
      return SEGMENT_DOWNLOAD;
    case ROUTE_MOVE:
      return SEGMENT_WITHIN;
    case ROUTE_CLEAR:
      return SEGMENT_CLEAR;
    case ROUTE_ADD:
      return SEGMENT_ADD;
    default:
      return SEGMENT_SUM;
  }
}

/** Pages of a route that the plan can still take. */
function pagesThatFit(route: number, plan: FlightPlan, room: FlightRoom): number {
  const jobs = room.jobs - plan.jobs;
  const downloads = plan.pagesOf[SEGMENT_DOWNLOAD]!;
  const sums = plan.pagesOf[SEGMENT_SUM]!;
  switch (route) {
    case ROUTE_UPLOAD:
      return Math.min(jobs, room.uploadPages - plan.pagesOf[SEGMENT_UPLOAD]!);
    case ROUTE_DOWNLOAD: {
      const bytes = room.readBytes - sums * SUM_BYTES;
      return Math.min(jobs, Math.floor(bytes / PAGE_SIZE) - downloads);
    }
    case ROUTE_MOVE:
      return Math.min(Math.floor(jobs / 2), room.bouncePages - plan.bouncePages);
    case ROUTE_SUM: {
      const bytes = room.readBytes - downloads * PAGE_SIZE;
      return Math.min(jobs, Math.floor(bytes / SUM_BYTES) - sums);
    }
    default:
      return jobs;
  }
}

/** Pages of a route that an empty flight takes. */
function pagesThatEverFit(route: number, room: FlightRoom): number {
  switch (route) {
    case ROUTE_UPLOAD:
      return Math.min(room.jobs, room.uploadPages);
    case ROUTE_DOWNLOAD:
      return Math.min(room.jobs, Math.floor(room.readBytes / PAGE_SIZE));
    case ROUTE_MOVE:
      return Math.min(Math.floor(room.jobs / 2), room.bouncePages);
    case ROUTE_SUM:
      return Math.min(room.jobs, room.readBytes / SUM_BYTES);
    default:
      return room.jobs;
  }
}
