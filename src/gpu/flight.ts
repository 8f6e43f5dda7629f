/*
 * What goes to the device as one piece, alone in a submission or as one of two: the part of a list
 * that it carries, the staging slots that it holds, and what it still waits for. Flights are made
 * once and reused.
 *
 * Locking. None. Source: our own.
 */
import { FlightPlan } from './flight-plan.ts';
import type { ListRun } from './list-run.ts';
import type { Slot } from './rings.ts';

/** See the file header. */
export class Flight {
  readonly plan: FlightPlan;
  /** The list that it belongs to, while it is in the air. */
  run: ListRun | null = null;
  upload: Slot | null = null;
  readback: Slot | null = null;
  /** Bytes of the readback slot that it fills, and where in them the checksums start. */
  readBytes = 0;
  sumOffset = 0;
  /** Position in the order of all flights of the engine. */
  sequence = 0;
  /** What it is about to submit. */
  commands: GPUCommandBuffer | null = null;
  /** Answers that it still waits for: maps, error scopes, or the queue. */
  pending = 0;
  /** 0, or the errno with which it failed. */
  failure = 0;
  /** When it was submitted and, once nothing is pending, when it was ready to land (ms). */
  submittedAt = 0;
  readyAt = 0;
  /** Device errors that the engine had seen when this flight was submitted. */
  errorsBefore = 0;

  /** What its promises call, made once: see `Launcher.prepare`. */
  onAnswer: () => void = () => {};
  onUploadSlot: () => void = () => {};
  onScope: (error: GPUError | null) => void = () => {};
  onRefusal: (reason: unknown) => void = () => {};

  constructor(capacity: number) {
    this.plan = new FlightPlan(capacity);
  }

  /** True when it may land: nothing is pending. */
  get isReady(): boolean {
    return this.pending === 0;
  }
}
