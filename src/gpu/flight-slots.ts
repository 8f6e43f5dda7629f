/*
 * Which staging slots a flight gets, and what room that gives its plan.
 *
 * Locking. None. Source: our own.
 */
import type { EngineParts } from './engine-parts.ts';
import type { Flight } from './flight.ts';
import { SEGMENT_DOWNLOAD, SEGMENT_SUM, SEGMENT_UPLOAD } from './flight-plan.ts';
import type { FlightRoom } from './flight-planner.ts';
import type { ListRun } from './list-run.ts';
import type { SlotRing } from './rings.ts';

/** Pages that a flight uploads at most when it needs no slot. */
const UNSTAGED_PAGES = 1024;

/**
 * Takes the slots that the next flight of a list needs and says in `room` what fits.
 *
 * @param isOneArena whether VRAM is one buffer
 * @returns false when one that it needs is in use: the flight has none then
 *
 * Context: no lock; never waits; allocates nothing. Source: our own.
 */
export function takeSlots(
  run: ListRun,
  flight: Flight,
  { uploads, readbacks, bouncePages }: EngineParts,
  isOneArena: boolean,
  room: FlightRoom,
): boolean {
  flight.upload = null;
  flight.readback = null;
  const staged = run.choice.upload.stagesUploads;
  if (run.uploadPagesLeft > 0 && staged) {
    flight.upload = uploads.take(run.uploadPagesLeft);
    if (flight.upload === null) return false;
  }
  if (run.downloadPagesLeft > 0 || run.sumPagesLeft > 0) {
    flight.readback = readbacks.take(run.downloadPagesLeft + run.sumPagesLeft / 1024);
    if (flight.readback === null) {
      if (flight.upload !== null) uploads.give(flight.upload);
      flight.upload = null;
      return false;
    }
  }
  room.uploadPages = staged ? (flight.upload?.pages ?? 0) : UNSTAGED_PAGES;
  room.readBytes = flight.readback?.bytes ?? 0;
  room.bouncePages = run.choice.move.movesInPlace && isOneArena ? Infinity : bouncePages;
  return true;
}

/** Gives up the slots that a flight took but its plan does not use. */
export function dropUnusedSlots(flight: Flight, uploads: SlotRing, readbacks: SlotRing): void {
  const { plan } = flight;
  if (flight.upload !== null && !plan.has(SEGMENT_UPLOAD)) {
    uploads.give(flight.upload);
    flight.upload = null;
  }
  const reads = plan.has(SEGMENT_DOWNLOAD) || plan.has(SEGMENT_SUM);
  if (flight.readback !== null && !reads) {
    readbacks.give(flight.readback);
    flight.readback = null;
  }
}

/** Whether the device took the memory back that the flight's upload is to be written to. */
export function isRobbed({ upload }: Flight): boolean {
  return upload !== null && upload.range?.byteLength === 0;
}
