/*
 * Turns a planned flight into one queue submission, and asks the device to say when it is done.
 *
 * Order inside a flight: uploads, moves, clears, additions, checksums, downloads. The jobs of a
 * list are unordered and free of conflicts, so any order would do.
 *
 * Completion. An upload slot is mapped again right after the submission: the map resolves when the
 * device is done with the submission, so it is the completion signal as well. The same holds for a
 * readback slot. Flights with neither wait for the queue.
 *
 * Locking. None; single-threaded. Source: our own.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { Flight } from './flight.ts';
import {
  SEGMENT_ACROSS,
  SEGMENT_ADD,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_SUM,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from './flight-plan.ts';
import { MAP_MODE_READ, MAP_MODE_WRITE } from './flags.ts';
import type { SlotRing } from './rings.ts';
import { recordAdds, recordSums } from './strategies/kernels.ts';
import type { EncodeResources, Recording, StrategyChoice } from './strategies/strategy.ts';

/** Checksums are read as 32-bit words behind the downloaded pages. */
const SUM_BYTES = 4;
/** Segments of a readback that has no error scope. */
const FEW_SEGMENTS = 16;

/** Whom the launcher tells about completions; the engine. */
export interface FlightListener {
  /** One of the flight's pending answers came, and was good. */
  answered(flight: Flight): void;
  /** An error scope of the flight caught an error. */
  caught(flight: Flight, message: string): void;
  /** The device did not do what the flight waits for: it may be lost. */
  refused(flight: Flight, reason: unknown): void;
  /** The flight's upload slot is mapped again. */
  uploadSlotBack(flight: Flight): void;
}

/** See the file header. */
export class Launcher {
  private readonly resources: EncodeResources;
  private readonly listener: FlightListener;
  private readonly checked: boolean;
  private readonly recording: Recording;

  constructor(resources: EncodeResources, listener: FlightListener, checked: boolean) {
    this.resources = resources;
    this.listener = listener;
    this.checked = checked;
    this.recording = {
      resources,
      // Replaced for each flight; there is no encoder or plan that stands for "none".
      encoder: undefined as unknown as GPUCommandEncoder,
      plan: undefined as unknown as Flight['plan'],
      upload: null,
      readback: null,
    };
  }

  /** Makes the functions that a flight's promises will call; once for each flight. */
  prepare(flight: Flight): void {
    const { listener } = this;
    flight.onAnswer = () => listener.answered(flight);
    flight.onUploadSlot = () => listener.uploadSlotBack(flight);
    flight.onRefusal = (reason) => listener.refused(flight, reason);
    flight.onScope = (error) => {
      if (error === null) listener.answered(flight);
      else listener.caught(flight, error.message);
    };
  }

  /**
   * Submits a flight whose plan and slots are set.
   *
   * @param begun the time now (ms): each reading of the clock leaves a number on the heap
   *
   * Context: no lock; never waits. Source: our own.
   */
  launch(flight: Flight, choice: StrategyChoice, begun: number): void {
    const { stats, device } = this.resources;
    this.fillUpload(flight, choice);
    const filled = flight.upload === null ? begun : performance.now();
    flight.pending = 0;
    flight.failure = 0;
    flight.isScoped = this.checked && needsScope(flight, choice);
    // Only creating something can be out of memory; each scope costs a fault 10 us in Chromium.
    if (flight.isScoped) device.pushErrorScope('validation');
    const commands = this.record(flight, choice);
    const recorded = performance.now();
    device.queue.submit([commands]);
    const submitted = performance.now();
    stats.hostCopyMs += filled - begun;
    stats.encodeMs += recorded - filled;
    stats.submitMs += submitted - recorded;
    stats.submissions += 1;
    flight.submittedAt = submitted;
    this.expectAnswers(flight);
  }

  private fillUpload(flight: Flight, choice: StrategyChoice): void {
    const { plan, upload } = flight;
    const pages = plan.pagesOf[SEGMENT_UPLOAD]!;
    this.resources.stats.bytesToDevice += pages * PAGE_SIZE;
    if (upload === null) return;
    assert(choice.upload.stagesUploads && upload.range !== null, 'an upload slot is not mapped');
    this.resources.host.fill(upload.range, plan, SEGMENT_UPLOAD);
    upload.buffer.unmap();
    upload.range = null;
  }

  private record(flight: Flight, choice: StrategyChoice): GPUCommandBuffer {
    const { device, jobs } = this.resources;
    const { plan } = flight;
    const { recording } = this;
    recording.encoder = device.createCommandEncoder();
    recording.plan = plan;
    recording.upload = flight.upload?.buffer ?? null;
    recording.readback = flight.readback?.buffer ?? null;
    jobs.reset();
    if (plan.has(SEGMENT_UPLOAD)) choice.upload.upload?.(recording);
    if (plan.has(SEGMENT_WITHIN) || plan.has(SEGMENT_ACROSS)) choice.move.move?.(recording);
    if (plan.has(SEGMENT_CLEAR)) choice.clear.clear?.(recording);
    if (plan.has(SEGMENT_ADD)) recordAdds(recording);
    flight.sumOffset = plan.pagesOf[SEGMENT_DOWNLOAD]! * PAGE_SIZE;
    flight.readBytes = flight.sumOffset + plan.pagesOf[SEGMENT_SUM]! * SUM_BYTES;
    if (plan.has(SEGMENT_SUM)) recordSums(recording, flight.sumOffset);
    if (plan.has(SEGMENT_DOWNLOAD)) choice.download.download?.(recording);
    if (jobs.groups > 0) jobs.write(device.queue);
    return recording.encoder.finish();
  }

  private expectAnswers(flight: Flight): void {
    const { device, stats } = this.resources;
    const { upload, readback, onAnswer, onUploadSlot, onScope, onRefusal } = flight;
    if (flight.isScoped) {
      flight.pending += 1;
      device.popErrorScope().then(onScope, onRefusal);
    }
    if (upload !== null) {
      flight.pending += 1;
      stats.maps += 1;
      upload.buffer.mapAsync(MAP_MODE_WRITE).then(onUploadSlot, onRefusal);
    }
    if (readback !== null) {
      flight.pending += 1;
      stats.maps += 1;
      readback.buffer.mapAsync(MAP_MODE_READ, 0, flight.readBytes).then(onAnswer, onRefusal);
    }
    if (upload === null && readback === null) {
      flight.pending += 1;
      device.queue.onSubmittedWorkDone().then(onAnswer, onRefusal);
    }
  }
}

/**
 * Whether a flight has an error scope of its own. Small readbacks by copy commands, as faults make
 * them, have none: their core waits, and what they record is one sort of command between buffers
 * of the engine. Should one fail all the same, the uncaptured error comes before its map's answer.
 */
function needsScope({ plan, upload, readback }: Flight, choice: StrategyChoice): boolean {
  const onlyReads = upload === null && readback !== null && plan.length <= FEW_SEGMENTS;
  if (!onlyReads || !choice.download.readsByCommands) return true;
  return plan.jobs !== plan.pagesOf[SEGMENT_DOWNLOAD]!;
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
