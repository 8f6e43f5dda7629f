/**
 * The least that bringing scattered pages to the device takes (the limits of goals G3 and G4): bare
 * WebGPU with a few mapped staging buffers. Each in turn is filled by the fastest JS loop that we
 * know, unmapped, submitted with one copy, and mapped again; nothing is planned or checked, and
 * everything that can be is made beforehand. By descriptors, the copy goes to a second buffer, from
 * which one dispatch takes the pages to their places, and where more than three buffers are needed
 * the second and third are submitted together, as the engine does it.
 */
import code from './bare-descriptors.wgsl?raw';
import { nowUs } from './clock.ts';
import { checkPage, fillPage } from './content.ts';
import type { Operation } from './sampler.ts';

const PAGE = 4096;
const WORDS = PAGE / 4;
const LONGS = PAGE / 8;
/** Staging buffers: as many as the engine has of each size. */
const SLOTS = 3;
/** Most of them that are submitted together. */
const TOGETHER = 2;
// Usage flags; Node has no globals for them when this file is loaded.
const MAP_READ = 0x1;
const MAP_WRITE = 0x2;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const STORAGE = 0x80;
const MODE_READ = 0x1;
const MODE_WRITE = 0x2;

/** What is uploaded. */
export interface BareUploadSpec {
  /** RAM by words. */
  readonly ram: Uint32Array;
  /** RAM frame of each page; a multiple of four of them. */
  readonly frames: Uint32Array;
  /** Pages of a staging buffer. */
  readonly slotPages: number;
  /** Page of the target where each goes, by descriptor; null for one contiguous copy. */
  readonly places: Uint32Array | null;
  readonly seed: number;
}

interface Slot {
  readonly buffer: GPUBuffer;
  range: ArrayBuffer;
}

/** What a dispatch by descriptor needs. */
interface Scatter {
  readonly places: Uint32Array;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly descriptors: GPUBuffer;
  readonly bounce: GPUBuffer;
  readonly pipeline: GPUComputePipeline;
  /** For the first and the second of two that are submitted together. */
  readonly bindGroups: readonly GPUBindGroup[];
}

export class BareUpload implements Operation {
  private readonly device: GPUDevice;
  private readonly spec: BareUploadSpec;
  private readonly longs: BigUint64Array;
  private readonly free: Slot[];
  private readonly target: GPUBuffer;
  private readonly scatter: Scatter | null;
  /** Recorded and not submitted. */
  private readonly commands: GPUCommandBuffer[] = [];
  private iteration = 0;
  private spentUs = 0;

  constructor(device: GPUDevice, spec: BareUploadSpec) {
    this.device = device;
    this.spec = spec;
    const { ram, frames, slotPages, places } = spec;
    this.longs = new BigUint64Array(ram.buffer, ram.byteOffset, ram.length / 2);
    this.free = Array.from({ length: SLOTS }, () => {
      const size = slotPages * PAGE;
      const usage = MAP_WRITE | COPY_SRC;
      const buffer = device.createBuffer({ size, usage, mappedAtCreation: true });
      return { buffer, range: buffer.getMappedRange() };
    });
    this.target = this.deviceBuffer(frames.length * PAGE);
    this.scatter = places === null ? null : this.makeScatter(places);
  }

  /** JS time of all runs so far but for the gathering of pages, in microseconds. */
  clock = (): number => this.spentUs;

  prepare(): void {
    this.iteration += 1;
    const { ram, frames, seed } = this.spec;
    frames.forEach((frame, page) => fillPage(ram, frame * WORDS, seed, this.iteration, page));
  }

  async run(): Promise<number> {
    const { frames, slotPages } = this.spec;
    const pending: Promise<Slot>[] = [];
    const waiting: Slot[] = [];
    const joined = this.joinsUntil();
    for (let first = 0; first < frames.length; first += slotPages) {
      const pages = Math.min(slotPages, frames.length - first);
      const slot = this.free.pop() ?? (await pending.shift()!);
      gather(new BigUint64Array(slot.range), this.longs, frames, first, pages);
      slot.buffer.unmap();
      const gathered = nowUs();
      this.commands.push(this.record(slot.buffer, first, pages));
      waiting.push(slot);
      if (first === 0 || first + slotPages >= joined) {
        this.submit((waiting.length - 1) * slotPages + pages);
        for (const one of waiting) {
          pending.push(mappedAgain(one, one.buffer.mapAsync(MODE_WRITE)));
        }
        waiting.length = 0;
      }
      this.spentUs += nowUs() - gathered;
    }
    for (const slot of pending) this.free.push(await slot);
    return 0;
  }

  /** All but the first buffer wait for the one that reaches this page. */
  private joinsUntil(): number {
    const { frames, slotPages } = this.spec;
    const isLong = this.scatter !== null && frames.length > SLOTS * slotPages;
    return isLong ? SLOTS * slotPages : 0;
  }

  async verify(): Promise<string | null> {
    const { device, target } = this;
    const { frames, places, seed } = this.spec;
    const size = frames.length * PAGE;
    const readable = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(target, 0, readable, 0, size);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(MODE_READ);
    const words = new Uint32Array(readable.getMappedRange());
    const wrong = frames.findIndex((_, page) => {
      const place = places?.[page] ?? page;
      return checkPage(words, place * WORDS, seed, this.iteration, page, 0) >= 0;
    });
    readable.unmap();
    const { scatter } = this;
    const others = scatter === null ? [] : [scatter.bounce, scatter.descriptors];
    const slots = this.free.map((slot) => slot.buffer);
    for (const one of [readable, target, ...others, ...slots]) one.destroy();
    return wrong < 0 ? null : `page ${wrong} is wrong`;
  }

  private record(from: GPUBuffer, first: number, pages: number): GPUCommandBuffer {
    const { device, scatter } = this;
    const { slotPages } = this.spec;
    const slot = this.commands.length;
    if (scatter !== null) noteDescriptors(scatter, slot * slotPages, first, pages);
    const encoder = device.createCommandEncoder();
    const at = scatter === null ? first * PAGE : 0;
    encoder.copyBufferToBuffer(from, 0, scatter?.bounce ?? this.target, at, pages * PAGE);
    if (scatter !== null) {
      const pass = encoder.beginComputePass();
      pass.setPipeline(scatter.pipeline);
      pass.setBindGroup(0, scatter.bindGroups[slot]);
      pass.dispatchWorkgroups(pages);
      pass.end();
    }
    return encoder.finish();
  }

  /** @param pages that the recorded commands bring, all in all */
  private submit(pages: number): void {
    const { commands, device, scatter } = this;
    if (scatter !== null) {
      device.queue.writeBuffer(scatter.descriptors, 0, scatter.words, 0, 2 * pages);
    }
    device.queue.submit(commands);
    commands.length = 0;
  }

  private deviceBuffer(size: number): GPUBuffer {
    return this.device.createBuffer({ size, usage: COPY_SRC | COPY_DST | STORAGE });
  }

  private makeScatter(places: Uint32Array): Scatter {
    const { device, target } = this;
    const { slotPages } = this.spec;
    const half = 8 * slotPages;
    const descriptors = this.deviceBuffer(TOGETHER * half);
    const bounce = this.deviceBuffer(slotPages * PAGE);
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
    const bindGroups = Array.from({ length: TOGETHER }, (_, slot) =>
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: descriptors, offset: slot * half, size: half } },
          { binding: 1, resource: { buffer: bounce } },
          { binding: 2, resource: { buffer: target } },
        ],
      }),
    );
    const words = new Uint32Array(TOGETHER * 2 * slotPages);
    return { places, words, descriptors, bounce, pipeline, bindGroups };
  }
}

async function mappedAgain(slot: Slot, answer: Promise<undefined>): Promise<Slot> {
  await answer;
  slot.range = slot.buffer.getMappedRange();
  return slot;
}

/** Notes where pages go, from number `at` of those that are submitted together on. */
function noteDescriptors(scatter: Scatter, at: number, first: number, pages: number): void {
  const { words, places } = scatter;
  for (let page = 0; page < pages; page++) {
    words[2 * (at + page)] = page;
    words[2 * (at + page) + 1] = places[first + page]!;
  }
}

/** Copies pages one behind the other, four at a time. */
function gather(
  target: BigUint64Array,
  source: BigUint64Array,
  frames: Uint32Array,
  first: number,
  pages: number,
): void {
  for (let page = 0; page < pages; page += 4) {
    const at = first + page;
    const [a, b] = [frames[at]! * LONGS, frames[at + 1]! * LONGS];
    const [c, d] = [frames[at + 2]! * LONGS, frames[at + 3]! * LONGS];
    copyFour(target, page * LONGS, source, a, b, c, d);
  }
}

function copyFour(
  target: BigUint64Array,
  to: number,
  source: BigUint64Array,
  a: number,
  b: number,
  c: number,
  d: number,
): void {
  const [toB, toC, toD] = [to + LONGS, to + 2 * LONGS, to + 3 * LONGS];
  for (let i = 0; i < LONGS; i += 4) {
    target[to + i] = source[a + i]!;
    target[to + i + 1] = source[a + i + 1]!;
    target[to + i + 2] = source[a + i + 2]!;
    target[to + i + 3] = source[a + i + 3]!;
    target[toB + i] = source[b + i]!;
    target[toB + i + 1] = source[b + i + 1]!;
    target[toB + i + 2] = source[b + i + 2]!;
    target[toB + i + 3] = source[b + i + 3]!;
    target[toC + i] = source[c + i]!;
    target[toC + i + 1] = source[c + i + 1]!;
    target[toC + i + 2] = source[c + i + 2]!;
    target[toC + i + 3] = source[c + i + 3]!;
    target[toD + i] = source[d + i]!;
    target[toD + i + 1] = source[d + i + 1]!;
    target[toD + i + 2] = source[d + i + 2]!;
    target[toD + i + 3] = source[d + i + 3]!;
  }
}
