/**
 * The least that a descriptor path can cost in JS (the limit of goal G3): bare WebGPU writes
 * 8 bytes a page, records one dispatch and submits it. Nothing is planned, staged or checked
 * meanwhile; buffers, pipeline and bind group are made beforehand.
 */
import code from './bare-descriptors.wgsl?raw';
import { nowUs } from './clock.ts';
import { checkPage, fillPage } from './content.ts';
import type { Operation } from './sampler.ts';

const PAGE = 4096;
const WORDS = PAGE / 4;
// Usage flags; Node has no globals for them when this file is loaded.
const STORAGE = 0x80;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const MAP_READ = 0x1;
const MAP_MODE_READ = 0x1;

/** Shuffles numbers in place. */
interface Shuffler {
  shuffle<T extends { length: number; [i: number]: number }>(items: T): T;
}

export class BareDescriptors implements Operation {
  private readonly device: GPUDevice;
  private readonly pages: number;
  private readonly seed: number;
  private readonly order: Uint32Array;
  private readonly words: Uint32Array<ArrayBuffer>;
  private readonly buffers: Record<'descriptors' | 'source' | 'target', GPUBuffer>;
  private readonly pipeline: GPUComputePipeline;
  private readonly bindGroup: GPUBindGroup;
  private spentUs = 0;
  private isFilled = false;

  /** Copies `pages` pages of one buffer to another, in shuffled order. */
  constructor(device: GPUDevice, pages: number, seed: number, shuffler: Shuffler) {
    this.device = device;
    this.pages = pages;
    this.seed = seed;
    this.order = shuffler.shuffle(Uint32Array.from({ length: pages }, (_, page) => page));
    this.words = new Uint32Array(2 * pages);
    const buffer = (size: number, usage: number): GPUBuffer =>
      device.createBuffer({ size, usage: usage | STORAGE | COPY_DST });
    this.buffers = {
      descriptors: buffer(8 * pages, 0),
      source: buffer(pages * PAGE, 0),
      target: buffer(pages * PAGE, COPY_SRC),
    };
    const module = device.createShaderModule({ code });
    this.pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
    const { descriptors, source, target } = this.buffers;
    this.bindGroup = device.createBindGroup({
      layout: this.pipeline.getBindGroupLayout(0),
      entries: [descriptors, source, target].map((one, binding) => ({
        binding,
        resource: { buffer: one },
      })),
    });
  }

  /** JS time of all runs so far, in microseconds. */
  clock = (): number => this.spentUs;

  async prepare(): Promise<void> {
    if (this.isFilled) return;
    const content = new Uint32Array(this.pages * WORDS);
    for (let page = 0; page < this.pages; page++) {
      fillPage(content, page * WORDS, this.seed, 0, page);
    }
    this.device.queue.writeBuffer(this.buffers.source, 0, content);
    await this.device.queue.onSubmittedWorkDone();
    this.isFilled = true;
  }

  async run(): Promise<number> {
    const { device, order, words } = this;
    const begun = nowUs();
    for (let page = 0; page < order.length; page++) {
      words[2 * page] = page;
      words[2 * page + 1] = order[page]!;
    }
    device.queue.writeBuffer(this.buffers.descriptors, 0, words);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.pipeline);
    pass.setBindGroup(0, this.bindGroup);
    pass.dispatchWorkgroups(this.pages);
    pass.end();
    device.queue.submit([encoder.finish()]);
    this.spentUs += nowUs() - begun;
    await device.queue.onSubmittedWorkDone();
    return 0;
  }

  async verify(): Promise<string | null> {
    const { device, order, buffers } = this;
    const size = this.pages * PAGE;
    const readable = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffers.target, 0, readable, 0, size);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(MAP_MODE_READ);
    const words = new Uint32Array(readable.getMappedRange());
    const wrong = order.findIndex(
      (to, page) => checkPage(words, to * WORDS, this.seed, 0, page, 0) >= 0,
    );
    readable.unmap();
    for (const one of [readable, ...Object.values(buffers)]) one.destroy();
    return wrong < 0 ? null : `page ${wrong} is wrong`;
  }
}
