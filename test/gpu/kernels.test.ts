/*
 * Each kernel against its CPU twin: same arena, same jobs, in range and out of range; afterwards
 * arena, second buffer and status must be equal word for word. Run for several tunings, in one
 * arena surrounded by nothing else: what a kernel should not touch is noise that must survive.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as abi from '../../src/engine/kernel-abi.ts';
import { addWords } from '../../src/engine/kernels/add-words.ts';
import { checksumPages } from '../../src/engine/kernels/checksum-pages.ts';
import { clearPages } from '../../src/engine/kernels/clear-pages.ts';
import { copyPages } from '../../src/engine/kernels/copy-pages.ts';
import { gatherPages } from '../../src/engine/kernels/gather-pages.ts';
import { scatterPages } from '../../src/engine/kernels/scatter-pages.ts';
import type { KernelName } from '../../src/gpu/abi.ts';
import { KERNELS } from '../../src/gpu/abi.ts';
import { JobBuffer } from '../../src/gpu/job-buffer.ts';
import { KernelStatus } from '../../src/gpu/kernel-status.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import type { KernelSet, KernelTuning } from '../../src/gpu/pipelines.ts';
import { createKernels } from '../../src/gpu/pipelines.ts';
import { expectEqualWords, fillNoise } from '../contract/engine-harness.ts';

const ARENA_PAGES = 24;
const BOUNCE_PAGES = 12;
const SUMS = 40;

const TUNINGS: readonly KernelTuning[] = [
  { lanes: 1, pageLanes: 1, wholeLines: true },
  { lanes: 4, pageLanes: 1, wholeLines: true },
  { lanes: 4, pageLanes: 4, wholeLines: true },
  { lanes: 64, pageLanes: 16, wholeLines: true },
  { lanes: 32, pageLanes: 8, wholeLines: false },
  { lanes: 64, pageLanes: 64, wholeLines: false },
  { lanes: 256, pageLanes: 256, wholeLines: false },
];

type Words = Uint32Array;

const TWINS: Record<KernelName, (arena: Words, status: Words, batch: Words, extra: Words) => void> =
  {
    'copy-pages': copyPages,
    'gather-pages': gatherPages,
    'scatter-pages': scatterPages,
    'clear-pages': clearPages,
    'checksum-pages': checksumPages,
    'add-words': addWords,
  };

/** A batch of jobs; `frame` and `other` may lie outside what they refer to. */
interface BatchSpec {
  readonly jobs: readonly { readonly frame: number; readonly other: number }[];
  readonly gridWidth: number;
  readonly firstResult: number;
}

/** Leaves out jobs that would race: a frame or page that one writes may not be used by another. */
function withoutRaces(name: KernelName, jobs: BatchSpec['jobs']): BatchSpec['jobs'] {
  const used = new Set<string>();
  const writesOther = name === 'gather-pages';
  return jobs.filter(({ frame, other }) => {
    const written = writesOther ? `b${other}` : `a${frame}`;
    const read = name === 'copy-pages' ? `a${other}` : '';
    if (name === 'checksum-pages') return true;
    if (used.has(written) || used.has(read) || written === read) return false;
    used.add(written);
    if (read !== '') used.add(read);
    return true;
  });
}

const place = (pages: number): fc.Arbitrary<number> =>
  fc.oneof(
    { weight: 9, arbitrary: fc.nat(pages - 1) },
    { weight: 1, arbitrary: fc.constantFrom(pages, pages + 1, 2 ** 26, 2 ** 31, 2 ** 32 - 1) },
  );

const otherOf = (name: KernelName): fc.Arbitrary<number> => {
  if (name === 'copy-pages') return place(ARENA_PAGES);
  if (name === 'add-words') return fc.integer({ min: 0, max: 2 ** 32 - 1 });
  return name === 'checksum-pages' ? fc.nat(2 ** 23) : place(BOUNCE_PAGES);
};

const batchOf = (name: KernelName): fc.Arbitrary<BatchSpec> =>
  fc.record({
    jobs: fc
      .array(fc.record({ frame: place(ARENA_PAGES), other: otherOf(name) }), { maxLength: 30 })
      .map((jobs) => withoutRaces(name, jobs)),
    gridWidth: fc.integer({ min: 1, max: 9 }),
    firstResult: fc.nat(SUMS),
  });

describe.each(TUNINGS)('lanes $lanes, $pageLanes a page, whole lines $wholeLines', (tuning) => {
  let device: GPUDevice;
  let set: KernelSet;
  const buffers: Record<'arena' | 'bounce' | 'sums', GPUBuffer> = {} as never;
  let status: KernelStatus;
  let jobs: JobBuffer;

  beforeAll(async () => {
    device = await (await navigator.gpu.requestAdapter())!.requestDevice();
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const make = (size: number): GPUBuffer => device.createBuffer({ size, usage });
    buffers.arena = make(ARENA_PAGES * 4096);
    buffers.bounce = make(BOUNCE_PAGES * 4096);
    buffers.sums = make(SUMS * 4);
    status = new KernelStatus(device);
    jobs = new JobBuffer(device, 1, 64, 65535, tuning.lanes / tuning.pageLanes);
    const parts = { status: status.buffer, bounce: buffers.bounce, sums: buffers.sums, jobs };
    const made = await createKernels(device, [buffers.arena], parts, tuning);
    if (isEngineOpenError(made)) throw new Error(made.cause);
    set = made;
  });
  afterAll(() => device.destroy());

  it('compiles without a warning', () => {
    expect(set.messages).toEqual([]);
  });

  const read = async (source: GPUBuffer): Promise<Uint32Array> => {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const copy = device.createBuffer({ size: source.size, usage });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, copy, 0, source.size);
    device.queue.submit([encoder.finish()]);
    await copy.mapAsync(GPUMapMode.READ);
    const words = new Uint32Array(copy.getMappedRange()).slice();
    copy.destroy();
    return words;
  };

  const dispatch = (name: KernelName, batch: Uint32Array<ArrayBuffer>, spec: BatchSpec): void => {
    const { pipeline, groups } = set.kernels[name];
    device.queue.writeBuffer(jobs.buffer, 0, batch);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, groups[0], [0]);
    // One row more than needed: workgroups without a job must do nothing.
    const rows = Math.ceil(spec.jobs.length / spec.gridWidth) + 1;
    pass.dispatchWorkgroups(spec.gridWidth, rows);
    pass.end();
    device.queue.submit([encoder.finish()]);
  };

  it.each(Object.keys(KERNELS) as KernelName[])('%s does what its twin does', async (name) => {
    let refusals = 0;
    let seed = 0;
    const extraName = KERNELS[name].extra?.name ?? 'bounce';
    const check = async (spec: BatchSpec): Promise<void> => {
      seed += 1;
      const arena = new Uint32Array(ARENA_PAGES * 1024);
      fillNoise(arena, seed);
      const extra = new Uint32Array(buffers[extraName].size / 4);
      fillNoise(extra, seed + 1000);
      const state = new Uint32Array(abi.STATUS_WORDS);
      abi.resetStatus(state);
      device.queue.writeBuffer(buffers.arena, 0, arena);
      device.queue.writeBuffer(buffers[extraName], 0, extra);
      status.reset();
      const batch = toWords(spec);
      device.pushErrorScope('validation');
      dispatch(name, batch, spec);
      expect(await device.popErrorScope()).toBeNull();
      TWINS[name](arena, state, batch, extra);
      expectEqualWords(await read(buffers.arena), arena, 'arena');
      expectEqualWords(await read(buffers[extraName]), extra, extraName);
      expectEqualWords(await read(status.buffer), state, 'status');
      if (state[abi.STATUS_FLAGS] !== 0) refusals += 1;
    };
    // fast-check prints seed and path when this fails.
    await fc.assert(fc.asyncProperty(batchOf(name), check), { numRuns: 25 });
    // Jobs out of range must have occurred, or the comparison of the status says nothing.
    const bad = { frame: ARENA_PAGES, other: 0 };
    await check({ jobs: [{ frame: 1, other: 1 }, bad], gridWidth: 2, firstResult: 0 });
    expect(refusals).toBeGreaterThan(0);
  });
});

function toWords({ jobs, gridWidth, firstResult }: BatchSpec): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(abi.BATCH_HEADER_WORDS + jobs.length * abi.JOB_WORDS);
  words[abi.BATCH_JOB_COUNT] = jobs.length;
  words[abi.BATCH_GRID_WIDTH] = gridWidth;
  words[abi.BATCH_FIRST_RESULT] = firstResult;
  jobs.forEach(({ frame, other }, i) => {
    const at = abi.BATCH_HEADER_WORDS + i * abi.JOB_WORDS;
    words[at + abi.JOB_FRAME] = frame;
    words[at + abi.JOB_OTHER] = other;
  });
  return words;
}
