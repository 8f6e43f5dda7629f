/*
 * The block in which kernels note jobs that they refused. The host checks every list before it is
 * submitted, so an entry means that host and kernels disagree: a bug, never an input.
 *
 * Locking. None; one read at a time. Source: our own.
 */
import {
  STATUS_BAD_FRAME,
  STATUS_BAD_OTHER,
  STATUS_FIRST_BAD,
  STATUS_FLAGS,
  STATUS_NO_JOB,
  STATUS_WORDS,
} from '../engine/kernel-abi.ts';
import {
  BUFFER_COPY_DST,
  BUFFER_COPY_SRC,
  BUFFER_MAP_READ,
  BUFFER_STORAGE,
  MAP_MODE_READ,
} from './flags.ts';

const BYTES = STATUS_WORDS * 4;

/** See the file header. */
export class KernelStatus {
  readonly buffer: GPUBuffer;
  private readonly device: GPUDevice;

  constructor(device: GPUDevice) {
    this.device = device;
    const usage = BUFFER_STORAGE | BUFFER_COPY_SRC | BUFFER_COPY_DST;
    this.buffer = device.createBuffer({ label: 'kernel status', size: BYTES, usage });
    this.reset();
  }

  /** Queues the state before any refusal. */
  reset(): void {
    const words = new Uint32Array(STATUS_WORDS);
    words[STATUS_FIRST_BAD] = STATUS_NO_JOB;
    this.device.queue.writeBuffer(this.buffer, 0, words);
  }

  /**
   * What kernels refused since the last reset, in words, or ''. Resets the block if there was any.
   *
   * Context: waits for all work submitted so far. Rejects when the device is lost meanwhile.
   */
  async read(): Promise<string> {
    const copy = this.device.createBuffer({
      label: 'kernel status copy',
      size: BYTES,
      usage: BUFFER_MAP_READ | BUFFER_COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffer, 0, copy, 0, BYTES);
    this.device.queue.submit([encoder.finish()]);
    await copy.mapAsync(MAP_MODE_READ);
    const words = new Uint32Array(copy.getMappedRange());
    const flags = words[STATUS_FLAGS]!;
    const firstBad = words[STATUS_FIRST_BAD]!;
    copy.destroy();
    if (flags === 0) return '';
    this.reset();
    const reasons: string[] = [];
    if ((flags & STATUS_BAD_FRAME) !== 0) reasons.push('frame outside the arena');
    if ((flags & STATUS_BAD_OTHER) !== 0) reasons.push('page outside the other buffer');
    return `a kernel refused job ${firstBad}: ${reasons.join(', ')}`;
  }
}
