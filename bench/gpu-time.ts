/**
 * What a copy takes on the device, by timestamp queries: each submission that the engine makes is
 * put between two empty compute passes that note the time. That costs time itself, so it is done in
 * repeats of a cell that are not timed otherwise.
 *
 * What `queue.writeBuffer` brings is not part of a submission and not seen. Timestamps have a tick
 * of their own, which the report names; Chromium rounds them to 0.1 ms unless it is told not to.
 */
import { failureText } from './sampler.ts';
import type { Operation } from './sampler.ts';
import { median } from './stats.ts';

/** Repeats of a cell, the median of which counts. */
const REPEATS = 3;
/** Submissions of one operation that are timed; one that makes more has no such time. */
const MOST_SUBMISSIONS = 1024;
/** Cells that take longer are not repeated, microseconds. */
const MOST_US = 50_000;
const STAMP_BYTES = 8;
/** GPUBufferUsage.QUERY_RESOLVE | COPY_SRC, and MAP_READ | COPY_DST. */
const RESOLVED = 0x200 | 0x4;
const READABLE = 0x1 | 0x8;

/** Times submissions of a device. */
export class GpuTime {
  private readonly device: GPUDevice;
  private readonly stamps: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private readonly readable: GPUBuffer;

  private constructor(device: GPUDevice) {
    const size = 2 * MOST_SUBMISSIONS * STAMP_BYTES;
    this.device = device;
    this.stamps = device.createQuerySet({ type: 'timestamp', count: 2 * MOST_SUBMISSIONS });
    this.resolved = device.createBuffer({ size, usage: RESOLVED });
    this.readable = device.createBuffer({ size, usage: READABLE });
  }

  /** @returns null where the engine has no device, or its device no timestamps. */
  static of(engine: object): GpuTime | null {
    const { device } = engine as { readonly device?: GPUDevice };
    return device?.features.has('timestamp-query') === true ? new GpuTime(device) : null;
  }

  close(): void {
    for (const one of [this.stamps, this.resolved, this.readable]) one.destroy();
  }

  /**
   * Runs an operation, a few times.
   *
   * @param usual Microseconds that it takes. @returns microseconds on the device in all
   * submissions of one operation, the median; null where there is none or it takes too long.
   */
  async measure(operation: Operation, usual: number): Promise<number | null> {
    if (usual > MOST_US) return null;
    const taken: number[] = [];
    for (let i = 0; i < REPEATS; i++) {
      await operation.prepare?.(false);
      const us = await this.timeOf(operation);
      if (us === null) return null;
      taken.push(us);
    }
    return median(taken);
  }

  /** Microseconds of one run, which is prepared; null where it failed or was in no submission. */
  async timeOf(operation: Pick<Operation, 'run'>): Promise<number | null> {
    const { queue } = this.device;
    const submit = queue.submit.bind(queue);
    let submissions = 0;
    queue.submit = (commands) => {
      const at = 2 * submissions;
      submissions += 1;
      const list = [...commands];
      const timed =
        at < 2 * MOST_SUBMISSIONS ? [this.stamp(at), ...list, this.stamp(at + 1)] : list;
      submit(timed);
    };
    try {
      if ((await operation.run()) !== 0) return null;
    } catch (error) {
      failureText(error);
      return null;
    } finally {
      Reflect.deleteProperty(queue, 'submit');
    }
    return submissions === 0 || submissions > MOST_SUBMISSIONS ? null : this.read(submissions);
  }

  /** Commands that note the time when all commands before them are done. */
  private stamp(index: number): GPUCommandBuffer {
    const encoder = this.device.createCommandEncoder();
    const timestampWrites = { querySet: this.stamps, endOfPassWriteIndex: index };
    encoder.beginComputePass({ timestampWrites }).end();
    return encoder.finish();
  }

  /** Microseconds between the two times of each submission, in all. */
  private async read(submissions: number): Promise<number> {
    const { device, stamps, resolved, readable } = this;
    const bytes = 2 * submissions * STAMP_BYTES;
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(stamps, 0, 2 * submissions, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, readable, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(0x1, 0, bytes);
    const times = new BigUint64Array(readable.getMappedRange(0, bytes));
    let ns = 0;
    for (let i = 0; i < times.length; i += 2) {
      // A clock that was set back between the two says nothing.
      ns += Math.max(0, Number(times[i + 1]! - times[i]!));
    }
    readable.unmap();
    return ns / 1000;
  }
}
