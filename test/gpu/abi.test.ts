/*
 * The host's description of the kernels (src/gpu/abi.ts, src/engine/kernel-abi.ts) against the
 * shaders: once by reflection on their text, once by a probe that the real compiler translates.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WgslReflect } from 'wgsl_reflect/wgsl_reflect.module.js';
import * as hostAbi from '../../src/engine/kernel-abi.ts';
import type { KernelName } from '../../src/gpu/abi.ts';
import { BINDINGS, KERNELS, OVERRIDES, PART_BYTES, STRUCTS } from '../../src/gpu/abi.ts';
import { kernelSource, sharedParts } from '../../src/gpu/shader-sources.ts';
import { linkShader } from '../../src/gpu/shader-link.ts';

const NAMES = Object.keys(KERNELS) as KernelName[];

/** The bindings that a kernel must have, as "name group binding access". */
function wantedBindings(name: KernelName): string[] {
  const { arena, extra } = KERNELS[name];
  const line = (key: keyof typeof BINDINGS, access: string): string =>
    `${key} ${BINDINGS[key].group} ${BINDINGS[key].binding} ${access}`;
  const lines = [line('arena', arena), line('status', 'read_write'), line('batch', 'read')];
  if (extra !== undefined) lines.push(line(extra.name, extra.access));
  return lines.sort();
}

describe.each([true, false])('by reflection, whole lines %s', (wholeLines) => {
  for (const name of NAMES) {
    it(`${name}: entry point, bindings, overrides`, () => {
      const reflect = new WgslReflect(kernelSource(name, wholeLines).code);
      expect(reflect.entry.compute.map((entry) => entry.name)).toEqual([KERNELS[name].entryPoint]);
      expect(reflect.overrides.map((override) => override.name)).toEqual([...OVERRIDES]);
      const found = [...reflect.storage, ...reflect.uniforms].map(
        (resource) =>
          `${resource.name} ${resource.group} ${resource.binding} ${resource.access || 'uniform'}`,
      );
      expect(found.sort()).toEqual(wantedBindings(name));
    });

    it(`${name}: offsets and sizes of the shared structures`, () => {
      const wanted = Object.keys(STRUCTS).filter((struct) => wholeLines || struct !== 'Unit');
      const { structs } = new WgslReflect(kernelSource(name, wholeLines).code);
      expect(structs.map((struct) => struct.name).sort()).toEqual(wanted.sort());
      for (const struct of structs) {
        const { size, fields } = STRUCTS[struct.name as keyof typeof STRUCTS];
        const offsets = struct.members.map((member) => [member.name, member.offset]);
        expect(Object.fromEntries(offsets), struct.name).toEqual(fields);
        expect(struct.size, struct.name).toBe(size);
      }
      const batch = structs.find((struct) => struct.name === 'JobBatch');
      const jobs = batch!.members.find((member) => member.name === 'jobs');
      const { stride } = jobs!.type as { stride?: number };
      expect(stride).toBe(STRUCTS.PageJob.size);
    });
  }

  it('the constants of both sides are equal', () => {
    const unitBytes = wholeLines ? STRUCTS.Unit.size : PART_BYTES;
    const text = Object.values(sharedParts(wholeLines)).join('\n');
    const constants = new Map<string, number>();
    for (const [, name, value] of text.matchAll(/^const ([A-Z_]+): u32 = (\d+)u;$/gm)) {
      constants.set(name!, Number(value));
    }
    expect(Object.fromEntries(constants)).toEqual({
      STATUS_BAD_FRAME: hostAbi.STATUS_BAD_FRAME,
      STATUS_BAD_OTHER: hostAbi.STATUS_BAD_OTHER,
      UNITS_PER_PAGE: 4096 / unitBytes,
      WORDS_PER_UNIT: unitBytes / 4,
    });
  });

  it('reserved words exist for all padding: every structure is made of whole named words', () => {
    for (const [name, { size, fields }] of Object.entries(STRUCTS)) {
      if (name === 'Unit') continue;
      const offsets = Object.values(fields).filter((offset) => offset < size);
      expect(offsets, name).toEqual(Array.from({ length: size / 4 }, (_, i) => i * 4));
    }
  });
});

const PROBE = `#import abi
#import page
@group(0) @binding(0) var<storage, read> line: Unit;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@compute @workgroup_size(lanes)
fn probe() {
  seen[0] = batch.job_count;
  seen[1] = batch.grid_width;
  seen[2] = batch.first_result;
  seen[3] = batch.reserved;
  seen[4] = batch.jobs[0].frame;
  seen[5] = batch.jobs[0].other;
  seen[6] = batch.jobs[3].frame;
  seen[7] = batch.jobs[3].other;
  seen[8] = line.b.x;
  seen[9] = line.d.w;
  atomicStore(&status.flags, 100u);
  atomicStore(&status.first_bad, 101u);
  status.reserved_0 = 102u;
  status.reserved_1 = 103u;
}
`;

describe('by a probe', () => {
  let device: GPUDevice;
  beforeAll(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    device = await adapter!.requestDevice();
  });
  afterAll(() => device.destroy());

  const buffer = (words: number): GPUBuffer => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const made = device.createBuffer({ size: words * 4, usage });
    device.queue.writeBuffer(
      made,
      0,
      Uint32Array.from({ length: words }, (_, i) => i),
    );
    return made;
  };

  const read = async (source: GPUBuffer): Promise<number[]> => {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const copy = device.createBuffer({ size: source.size, usage });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, copy, 0, source.size);
    device.queue.submit([encoder.finish()]);
    await copy.mapAsync(GPUMapMode.READ);
    return [...new Uint32Array(copy.getMappedRange())];
  };

  it('each field lies where the host puts it', async () => {
    const { code } = linkShader('probe', PROBE, sharedParts(true));
    const module = device.createShaderModule({ code });
    expect((await module.getCompilationInfo()).messages).toEqual([]);
    const compute = { module, entryPoint: 'probe', constants: { lanes: 1 } };
    const pipeline = device.createComputePipeline({ layout: 'auto', compute });
    const [line, status, batch, seen] = [buffer(16), buffer(4), buffer(64), buffer(16)];
    const group = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [line, status, batch, seen].map((made, binding) => ({
        binding,
        resource: { buffer: made },
      })),
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    device.queue.submit([encoder.finish()]);

    // Each buffer held its own word numbers, so what was read is where it lies.
    const job = (index: number, field: number): number =>
      hostAbi.BATCH_HEADER_WORDS + index * hostAbi.JOB_WORDS + field;
    expect((await read(seen)).slice(0, 10)).toEqual([
      hostAbi.BATCH_JOB_COUNT,
      hostAbi.BATCH_GRID_WIDTH,
      hostAbi.BATCH_FIRST_RESULT,
      3,
      job(0, hostAbi.JOB_FRAME),
      job(0, hostAbi.JOB_OTHER),
      job(3, hostAbi.JOB_FRAME),
      job(3, hostAbi.JOB_OTHER),
      4,
      15,
    ]);
    const written = await read(status);
    expect(written[hostAbi.STATUS_FLAGS]).toBe(100);
    expect(written[hostAbi.STATUS_FIRST_BAD]).toBe(101);
    expect(written.slice(2)).toEqual([102, 103]);
  });
});
