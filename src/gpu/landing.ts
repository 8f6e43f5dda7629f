/*
 * What happens when a flight arrives: RAM is written from the readback slot, checksums are added
 * up, and the done bits of the rows that are complete are set. A failed flight writes nothing.
 *
 * Locking. None; flights land one by one, in the order of their submission. Source: our own.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { Flight } from './flight.ts';
import { SEGMENT_DOWNLOAD, SEGMENT_SUM } from './flight-plan.ts';
import type { EncodeResources } from './strategies/strategy.ts';

/**
 * Lands a flight whose answers are all in; its readback slot is unmapped on return.
 *
 * @returns false when the mapped memory is gone although the map had succeeded: the device is lost
 *
 * Context: no lock; never waits. Source: our own.
 */
export function landFlight(flight: Flight, resources: EncodeResources): boolean {
  const { run } = flight;
  assert(run !== null, 'a flight without a list landed');
  if (flight.failure !== 0) {
    const { plan } = flight;
    const last = plan.length - 1;
    if (!plan.isWhole && plan.ends[last] === 0) run.brokenRow = plan.row[last]!;
    flight.readback?.buffer.unmap();
    return true;
  }
  if (flight.readback !== null) {
    const range = mappedRange(flight.readback.buffer, flight.readBytes);
    if (range === null) return false;
    readBack(flight, range, resources);
    flight.readback.buffer.unmap();
  }
  markDone(flight);
  return true;
}

/** The mapped bytes, or null when the buffer is not mapped any more. */
function mappedRange(buffer: GPUBuffer, bytes: number): ArrayBuffer | null {
  try {
    return buffer.getMappedRange(0, bytes);
  } catch {
    return null;
  }
}

function readBack(flight: Flight, range: ArrayBuffer, resources: EncodeResources): void {
  const { host, stats } = resources;
  const { plan } = flight;
  const begun = performance.now();
  if (plan.has(SEGMENT_DOWNLOAD)) {
    host.empty(range, plan, SEGMENT_DOWNLOAD);
    stats.bytesToHost += plan.pagesOf[SEGMENT_DOWNLOAD]! * PAGE_SIZE;
  }
  if (plan.has(SEGMENT_SUM)) addSums(flight, new Uint32Array(range, flight.sumOffset));
  stats.hostCopyMs += performance.now() - begun;
}

function addSums(flight: Flight, sums: Uint32Array): void {
  const { plan, run } = flight;
  const result = run!.list.result;
  for (let i = 0; i < plan.length; i++) {
    if (plan.kind[i] !== SEGMENT_SUM) continue;
    const row = plan.row[i]!;
    const first = plan.result[i]!;
    const end = first + plan.pages[i]!;
    let sum = result[row]!;
    for (let at = first; at < end; at++) sum = (sum + sums[at]!) | 0;
    result[row] = sum;
  }
}

function markDone(flight: Flight): void {
  const { plan, run } = flight;
  const { list, brokenRow } = run!;
  if (plan.isWhole) {
    list.done.fill(1, 0, plan.length);
    return;
  }
  for (let i = 0; i < plan.length; i++) {
    const row = plan.row[i]!;
    if (plan.ends[i] === 1 && row !== brokenRow) list.done[row] = 1;
  }
}
