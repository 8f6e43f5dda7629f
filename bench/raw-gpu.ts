/**
 * Bare WebGPU on a device of its own: the reference lines that the engine is held against.
 * Nothing here knows pages, lists or strategies. Results are checked like the engine's, with
 * content of their own.
 */
import { checkPage, fillPage } from './content.ts';
import type { Operation } from './sampler.ts';

const PAGE = 4096;
const WORDS = PAGE / 4;
/** Readback buffers in flight, and bytes of each: a PMD folio. */
const READBACK_SLOTS = 3;
const READBACK_BYTES = 2 ** 21;
const TIMESTAMPS = 64;
/** Batches of timestamps until that many had a step, and at most. */
const TICK_STEPS = 4;
const TICK_ROUNDS = 64;
/** GPUBufferUsage.COPY_SRC | COPY_DST; Node has no such global when this file is loaded. */
const DEVICE_BUFFER = 0x4 | 0x8;

/** See RawGpu.alternatingSource(). */
interface AlternatingSource {
  readonly buffer: GPUBuffer;
  /** Everything to destroy afterwards. */
  readonly all: readonly GPUBuffer[];
  /** Which content is in the buffer. */
  iteration(): number;
  renew(): Promise<void>;
}

/** A device with a way to know that something went wrong on it. */
export class RawGpu {
  readonly device: GPUDevice;
  /** Errors that no scope caught. */
  strayErrors = 0;

  private constructor(device: GPUDevice) {
    this.device = device;
    device.addEventListener('uncapturederror', () => {
      this.strayErrors += 1;
    });
  }

  /** Opens the adapter that the machine uses too; null where there is none. */
  static async open(
    powerPreference: 'high-performance' | 'low-power' | undefined,
  ): Promise<RawGpu | null> {
    if (typeof navigator === 'undefined' || !('gpu' in navigator)) return null;
    const options = powerPreference === undefined ? {} : { powerPreference };
    const adapter = await navigator.gpu.requestAdapter(options);
    if (adapter === null) return null;
    const timestamps = adapter.features.has('timestamp-query');
    const device = await adapter.requestDevice(
      timestamps ? { requiredFeatures: ['timestamp-query'] } : {},
    );
    return new RawGpu(device);
  }

  close(): void {
    this.device.destroy();
  }

  /** Submit nothing, wait for the queue: the least that a round trip to the device takes. */
  idleRoundTrip(): Operation {
    const { queue } = this.device;
    return {
      run: async () => {
        queue.submit([]);
        await queue.onSubmittedWorkDone();
        return 0;
      },
    };
  }

  /** One contiguous copy within the device, awaited. */
  async contiguousCopy(bytes: number, seed: number): Promise<Operation> {
    const source = await this.alternatingSource(bytes, seed);
    const target = this.buffer(bytes, DEVICE_BUFFER);
    return {
      prepare: () => source.renew(),
      run: async () => {
        this.submitCopy(source.buffer, 0, target, bytes);
        await this.device.queue.onSubmittedWorkDone();
        return 0;
      },
      verify: () => this.check(target, bytes, seed, source.iteration(), [target, ...source.all]),
    };
  }

  /**
   * Contiguous readback into `into`: copies to MAP_READ buffers, several in flight, and from
   * their mapped ranges to RAM.
   */
  async contiguousReadback(into: Uint8Array, seed: number): Promise<Operation> {
    const bytes = into.length;
    const source = await this.alternatingSource(bytes, seed);
    const slots = Array.from({ length: READBACK_SLOTS }, () =>
      this.buffer(READBACK_BYTES, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
    );
    return {
      prepare: async () => {
        await source.renew();
        into.fill(0);
      },
      run: () => this.readAll(source.buffer, slots, into),
      verify: () => {
        const words = new Uint32Array(into.buffer, into.byteOffset, bytes / 4);
        const wrong = firstWrong(words, seed, source.iteration()) ?? this.strayFailure();
        for (const buffer of [...source.all, ...slots]) buffer.destroy();
        return wrong;
      },
    };
  }

  /**
   * The least that moves `bytes` to the device and back, batch by batch: an upload through a
   * mapped buffer, a readback, each awaited, with everything made once that can be.
   */
  batchLoop(bytes: number): { run(batches: number): Promise<void>; close(): void } {
    const { device } = this;
    const target = this.buffer(bytes, DEVICE_BUFFER);
    const up = this.buffer(bytes, GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC);
    const down = this.buffer(bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const memory = new Uint8Array(bytes);
    const copy = (from: GPUBuffer, to: GPUBuffer): void => {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
      device.queue.submit([encoder.finish()]);
    };
    const run = async (batches: number): Promise<void> => {
      for (let i = 0; i < batches; i += 2) {
        await up.mapAsync(GPUMapMode.WRITE);
        new Uint8Array(up.getMappedRange()).set(memory);
        up.unmap();
        copy(up, target);
        copy(target, down);
        await down.mapAsync(GPUMapMode.READ);
        memory.set(new Uint8Array(down.getMappedRange()));
        down.unmap();
      }
    };
    const close = (): void => {
      for (const one of [target, up, down]) one.destroy();
    };
    return { run, close };
  }

  /** Smallest step between GPU timestamps in nanoseconds; null where there are none. */
  async timestampTickNs(): Promise<number | null> {
    if (!this.device.features.has('timestamp-query')) return null;
    let tick: number | null = null;
    // A batch of timestamps may be over within one step of a coarse clock.
    for (let round = 0, steps = 0; round < TICK_ROUNDS && steps < TICK_STEPS; round++) {
      const step = await this.smallestStampStep();
      if (step === null) continue;
      steps += 1;
      tick = Math.min(tick ?? step, step);
    }
    return tick;
  }

  private async smallestStampStep(): Promise<number | null> {
    const { device } = this;
    const querySet = device.createQuerySet({ type: 'timestamp', count: TIMESTAMPS });
    const bytes = TIMESTAMPS * 8;
    const resolved = this.buffer(bytes, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC);
    const readable = this.buffer(bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < TIMESTAMPS; i += 2) {
      const timestampWrites = {
        querySet,
        beginningOfPassWriteIndex: i,
        endOfPassWriteIndex: i + 1,
      };
      encoder.beginComputePass({ timestampWrites }).end();
    }
    encoder.resolveQuerySet(querySet, 0, TIMESTAMPS, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, readable, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(GPUMapMode.READ);
    const tick = smallestStep(new BigUint64Array(readable.getMappedRange()));
    readable.unmap();
    for (const one of [querySet, resolved, readable]) one.destroy();
    return tick;
  }

  private buffer(size: number, usage: number): GPUBuffer {
    return this.device.createBuffer({ size, usage });
  }

  private submitCopy(source: GPUBuffer, at: number, target: GPUBuffer, bytes: number): void {
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, at, target, 0, bytes);
    this.device.queue.submit([encoder.finish()]);
  }

  /**
   * A buffer whose content the device itself renews before each sample, from two contents in turn,
   * as the engine's sources are renewed by a kernel: both sides of a ratio find equal caches.
   */
  private async alternatingSource(bytes: number, seed: number): Promise<AlternatingSource> {
    const buffer = this.buffer(bytes, DEVICE_BUFFER);
    const contents = [this.buffer(bytes, DEVICE_BUFFER), this.buffer(bytes, DEVICE_BUFFER)];
    for (const [iteration, content] of contents.entries()) {
      await this.upload(content, bytes, seed, iteration);
    }
    let rounds = 0;
    return {
      buffer,
      all: [buffer, ...contents],
      iteration: () => rounds % contents.length,
      renew: async () => {
        rounds += 1;
        this.submitCopy(contents[rounds % contents.length]!, 0, buffer, bytes);
        await this.device.queue.onSubmittedWorkDone();
      },
    };
  }

  private async upload(
    target: GPUBuffer,
    bytes: number,
    seed: number,
    iteration: number,
  ): Promise<void> {
    const words = new Uint32Array(bytes / 4);
    for (let page = 0; page < bytes / PAGE; page++) {
      fillPage(words, page * WORDS, seed, iteration, page);
    }
    this.device.queue.writeBuffer(target, 0, words);
    await this.device.queue.onSubmittedWorkDone();
  }

  private async readAll(
    source: GPUBuffer,
    slots: readonly GPUBuffer[],
    into: Uint8Array,
  ): Promise<number> {
    const pending: Promise<void>[] = [];
    let chunk = 0;
    for (let at = 0; at < into.length; at += READBACK_BYTES) {
      const slot = slots[chunk % slots.length]!;
      const size = Math.min(READBACK_BYTES, into.length - at);
      if (pending.length === slots.length) await pending.shift();
      this.submitCopy(source, at, slot, size);
      pending.push(takeOut(slot, size, into, at));
      chunk += 1;
    }
    await Promise.all(pending);
    return 0;
  }

  private async check(
    buffer: GPUBuffer,
    bytes: number,
    seed: number,
    iteration: number,
    used: readonly GPUBuffer[],
  ): Promise<string | null> {
    const readable = this.buffer(bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    this.submitCopy(buffer, 0, readable, bytes);
    await readable.mapAsync(GPUMapMode.READ);
    const wrong = firstWrong(new Uint32Array(readable.getMappedRange()), seed, iteration);
    readable.unmap();
    for (const one of [readable, ...used]) one.destroy();
    return wrong ?? this.strayFailure();
  }

  private strayFailure(): string | null {
    return this.strayErrors === 0 ? null : `${this.strayErrors} uncaptured GPU errors`;
  }
}

async function takeOut(slot: GPUBuffer, size: number, into: Uint8Array, at: number): Promise<void> {
  await slot.mapAsync(GPUMapMode.READ, 0, size);
  into.set(new Uint8Array(slot.getMappedRange(0, size)), at);
  slot.unmap();
}

function firstWrong(words: Uint32Array, seed: number, iteration: number): string | null {
  for (let page = 0; page < words.length / WORDS; page++) {
    const word = checkPage(words, page * WORDS, seed, iteration, page, 0);
    if (word >= 0) return `page ${page} is wrong from word ${word} on`;
  }
  return null;
}

function smallestStep(times: BigUint64Array): number | null {
  let least: number | null = null;
  for (let i = 1; i < times.length; i++) {
    const step = Number(times[i]! - times[i - 1]!);
    if (step > 0 && (least === null || step < least)) least = step;
  }
  return least;
}
