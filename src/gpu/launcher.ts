/*
 * Turns planned flights into queue submissions, mostly one each, and asks the device to say when
 * each is done. Flights come in bursts: `recordAll`, `launch` for each submission, `close`. A burst
 * has one write of descriptors and at most one error scope.
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
import type { CommandList } from '../engine/command-list.ts';
import type { Flight } from './flight.ts';
import { isRobbed } from './flight-slots.ts';
import type { ListRun } from './list-run.ts';
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
import { recordAdds, recordSums } from './strategies/kernels.ts';
import type { EncodeResources, Recording, StrategyChoice } from './strategies/strategy.ts';

/** Checksums are read as 32-bit words behind the downloaded pages. */
const SUM_BYTES = 4;

/** Whom the launcher tells about completions; the engine. */
export interface FlightListener {
  /** One of the flight's pending answers came, and was good. */
  answered(flight: Flight): void;
  /** An error scope caught an error: once, however many flights it was for. */
  reported(message: string): void;
  /** The error scope of the flight was the one: that answer came, and was bad. */
  caught(flight: Flight): void;
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
  /** Hears each error scope before its flights do. */
  private readonly onScope: (error: GPUError | null) => void;
  /** What a submission consists of, while it is made. */
  private readonly commands: GPUCommandBuffer[] = [];
  /** Whether the burst is in an error scope. */
  private isScoped = false;

  constructor(resources: EncodeResources, listener: FlightListener, checked: boolean) {
    this.resources = resources;
    this.listener = listener;
    this.checked = checked;
    this.onScope = (error) => {
      if (error !== null) listener.reported(error.message);
    };
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
      else listener.caught(flight);
    };
  }

  /**
   * Begins a burst: fills the upload slot of its first flight and records what all will submit.
   * All but the last must have upload slots.
   *
   * @param begun since when the time of this thread counts as encoding (ms)
   * @returns the time now: each reading of the clock leaves a number on the heap
   *
   * Context: no lock; never waits. Source: our own.
   */
  recordAll(burst: readonly Flight[], choice: StrategyChoice, begun: number): number {
    const { jobs, device, stats } = this.resources;
    const first = burst[0]!;
    let spent = 0;
    if (first.upload !== null) {
      const planned = performance.now();
      this.fillUpload(first);
      spent = performance.now() - planned;
      stats.hostCopyMs += spent;
    }
    jobs.reset();
    this.isScoped = this.checked && needsScope(burst[burst.length - 1]!);
    // Only creating something can be out of memory.
    if (this.isScoped) device.pushErrorScope('validation');
    for (let i = 0; i < burst.length; i++) this.record(burst[i]!, choice);
    if (jobs.groups > 0) jobs.write(device.queue);
    const recorded = performance.now();
    stats.encodeMs += recorded - begun - spent;
    return recorded;
  }

  /**
   * Does for a flight that is a whole list of pages to scatter, in one arena, what `recordAll`,
   * `launch` and `close` do for all sorts of them. After the filling nearly all code is cold, and
   * most of what a flight costs is fetching it: this touches as little of it as can be. The upload
   * slot is mapped and has room for all pages.
   *
   * @param base the first frame of VRAM
   * @param begun since when the time of this thread counts as encoding (ms)
   * @returns the time now
   *
   * Context: no lock; never waits. Source: our own.
   */
  launchWhole(flight: Flight, list: CommandList, base: number, begun: number): number {
    const { device, bounce, jobs, kernels, host, stats } = this.resources;
    const { queue } = device;
    const slot = flight.upload!;
    const { buffer } = slot;
    const pages = list.length;
    const planned = performance.now();
    host.fillPages(slot.range!, list.source, pages);
    buffer.unmap();
    slot.range = null;
    const filled = performance.now();
    jobs.addPages(list.target, base, pages);
    jobs.write(queue);
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, bounce, 0, pages * PAGE_SIZE);
    const { pipeline, groups } = kernels.kernels['scatter-pages'];
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, groups[0], jobs.groupOffset, 0, 1);
    pass.dispatchWorkgroups(jobs.gridWidth(0), jobs.gridRows(0));
    pass.end();
    const commands = encoder.finish();
    const recorded = performance.now();
    queue.submit([commands]);
    const submitted = performance.now();
    buffer.mapAsync(MAP_MODE_WRITE).then(flight.onUploadSlot, flight.onRefusal);
    flight.pending = 1;
    flight.failure = 0;
    flight.submittedAt = submitted;
    stats.copyCommands += 1;
    stats.dispatches += 1;
    stats.submissions += 1;
    stats.maps += 1;
    stats.bytesToDevice += pages * PAGE_SIZE;
    stats.hostCopyMs += filled - planned;
    stats.submitMs += submitted - recorded;
    const asked = performance.now();
    stats.encodeMs += planned - begun + recorded - filled + asked - submitted;
    return asked;
  }

  /**
   * Submits recorded flights `from` to `end` of a burst in one submission, after filling those of
   * their upload slots that are not.
   *
   * @param begun the time now (ms)
   * @returns the time now
   *
   * Context: no lock; never waits. Source: our own.
   */
  launch(burst: readonly Flight[], from: number, end: number, begun: number): number {
    const { stats, device } = this.resources;
    const { commands } = this;
    let filled = begun;
    for (let i = from; i < end; i++) {
      const flight = burst[i]!;
      if (flight.upload !== null && flight.upload.range !== null) {
        this.fillUpload(flight);
        filled = performance.now();
      }
      stats.bytesToDevice += flight.plan.pagesOf[SEGMENT_UPLOAD]! * PAGE_SIZE;
      flight.pending = this.isScoped ? 1 : 0;
      flight.failure = 0;
      commands.push(flight.commands!);
      flight.commands = null;
    }
    device.queue.submit(commands);
    commands.length = 0;
    const submitted = performance.now();
    stats.hostCopyMs += filled - begun;
    stats.submitMs += submitted - filled;
    stats.submissions += 1;
    for (let i = from; i < end; i++) {
      burst[i]!.submittedAt = submitted;
      this.expectAnswers(burst[i]!);
    }
    const asked = performance.now();
    stats.encodeMs += asked - submitted;
    return asked;
  }

  /** Ends a burst, given those of its flights that are submitted. @returns the time now */
  close(burst: readonly Flight[], begun: number): number {
    if (!this.isScoped) return begun;
    const answer = this.resources.device.popErrorScope();
    // A refusal is the flights' to hear of, each by its own.
    answer.then(this.onScope, () => {});
    for (let i = 0; i < burst.length; i++) answer.then(burst[i]!.onScope, burst[i]!.onRefusal);
    const closed = performance.now();
    this.resources.stats.encodeMs += closed - begun;
    return closed;
  }

  /** Records what a flight will submit; its plan and slots are set. */
  private record(flight: Flight, choice: StrategyChoice): void {
    const { device, jobs } = this.resources;
    const { plan } = flight;
    const { recording } = this;
    const encoder = device.createCommandEncoder();
    recording.encoder = encoder;
    recording.plan = plan;
    recording.upload = flight.upload?.buffer ?? null;
    recording.readback = flight.readback?.buffer ?? null;
    assert(flight.upload === null || choice.upload.stagesUploads, 'nobody copies the upload slot');
    jobs.beginFlight();
    if (plan.has(SEGMENT_UPLOAD)) choice.upload.upload?.(recording);
    if (plan.has(SEGMENT_WITHIN) || plan.has(SEGMENT_ACROSS)) choice.move.move?.(recording);
    if (plan.has(SEGMENT_CLEAR)) choice.clear.clear?.(recording);
    if (plan.has(SEGMENT_ADD)) recordAdds(recording);
    flight.sumOffset = plan.pagesOf[SEGMENT_DOWNLOAD]! * PAGE_SIZE;
    flight.readBytes = flight.sumOffset + plan.pagesOf[SEGMENT_SUM]! * SUM_BYTES;
    if (plan.has(SEGMENT_SUM)) recordSums(recording, flight.sumOffset);
    if (plan.has(SEGMENT_DOWNLOAD)) choice.download.download?.(recording);
    flight.commands = encoder.finish();
  }

  private fillUpload({ plan, upload }: Flight): void {
    assert(upload !== null && upload.range !== null, 'an upload slot is not mapped');
    this.resources.host.fill(upload.range, plan, SEGMENT_UPLOAD);
    upload.buffer.unmap();
    upload.range = null;
  }

  private expectAnswers(flight: Flight): void {
    const { device, stats } = this.resources;
    const { upload, readback, onAnswer, onUploadSlot, onRefusal } = flight;
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
 * How many flights of a burst, from number `from` on, leave in one submission. A submission costs
 * this thread 30 to 100 us. Where all of a list is uploaded by kernel, two share one where nobody
 * waits for the first of them: it is not the first of the burst, for which the device waits, and
 * the second is not the last of the list. Copy commands are so fast on a software adapter that the
 * device would wait for the second to be filled.
 *
 * Source: our own; measured on a software adapter, docs/performance.md.
 */
export function flightsTogether(run: ListRun, burst: readonly Flight[], from: number): number {
  const second = from + 1;
  if (from === 0 || second === burst.length || !run.isScattered) return 1;
  const isLast = second === burst.length - 1 && run.isPlanned;
  return isLast || isRobbed(burst[second]!) ? 1 : 2;
}

/**
 * Whether a flight is in an error scope: only where no map answers for it. Where one does, an
 * uncaptured error comes before the answer and fails the flight, and a scope would cost 15 to 30 us
 * of this thread's time, which is a third of what submitting 512 descriptors costs.
 */
function needsScope({ upload, readback }: Flight): boolean {
  return upload === null && readback === null;
}
