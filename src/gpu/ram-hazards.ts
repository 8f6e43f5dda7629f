/*
 * Order between lists where they meet in RAM. The device's queue orders what happens in VRAM; RAM
 * is written by this thread when a readback arrives, which a later list must not overtake.
 *
 * One 32-bit stamp per RAM frame holds the number of the last flight that will write it; flights
 * land in the order of their numbers, so comparing with the last landed one is enough.
 *
 * Locking. None. Source: our own.
 */
import type { CommandList } from '../engine/command-list.ts';
import { JOB_CHECKSUM, JOB_COPY } from '../engine/command-list.ts';
import type { FlightPlan } from './flight-plan.ts';
import { SEGMENT_DOWNLOAD } from './flight-plan.ts';

/** See the file header. */
export class RamHazards {
  private readonly stamps: Uint32Array;
  private readonly hostFrames: number;
  private landed = 0;
  /** Last flight that writes RAM; nothing is pending once it has landed. */
  private lastWriter = 0;

  constructor(hostFrames: number) {
    this.hostFrames = hostFrames;
    this.stamps = new Uint32Array(hostFrames);
  }

  /** Notes the RAM frames that a flight will write when it lands. */
  launch(plan: FlightPlan, sequence: number): void {
    if (!plan.has(SEGMENT_DOWNLOAD)) return;
    this.lastWriter = sequence;
    const { stamps } = this;
    const { length, kind, host, pages } = plan;
    for (let i = 0; i < length; i++) {
      if (kind[i] !== SEGMENT_DOWNLOAD) continue;
      const first = host[i]!;
      // A call of fill() costs as much as sixty stores.
      if (pages[i] === 1) stamps[first] = sequence;
      else stamps.fill(sequence, first, first + pages[i]!);
    }
  }

  /** Notes that a flight has landed; flights land in order. */
  land(sequence: number): void {
    this.landed = sequence;
  }

  /**
   * True when a RAM frame that the list reads, or writes by itself, has still to be written by a
   * flight in the air. Downloads don't count: they land after it anyway.
   */
  blocks(list: CommandList): boolean {
    if (this.lastWriter <= this.landed) return false;
    for (let row = 0; row < list.length; row++) {
      const op = list.op[row]!;
      const count = list.count[row]!;
      const reads = op === JOB_COPY || op === JOB_CHECKSUM;
      const source = list.source[row]!;
      if (reads && this.isPending(source, count)) return true;
      const target = list.target[row]!;
      const byThread = op !== JOB_CHECKSUM && !(op === JOB_COPY && source >= this.hostFrames);
      if (byThread && this.isPending(target, count)) return true;
    }
    return false;
  }

  private isPending(first: number, count: number): boolean {
    if (first >= this.hostFrames) return false;
    const { stamps, landed } = this;
    for (let frame = first; frame < first + count; frame++) {
      if (stamps[frame]! > landed) return true;
    }
    return false;
  }
}
