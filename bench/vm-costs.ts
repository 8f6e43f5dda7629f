/*
 * What a kernel pays for virtual memory: each shape as a plain kernel over one buffer, over virtual
 * memory without exactly-once (a stopped invocation would start again), with it, and with a log
 * from the first attempt on, everything resident.
 *
 * The four run in turn, round after round, so that what else the machine does meets all of them.
 * Every launch that is timed must finish in one pass without a fault.
 *
 * Leaves out: the cost of faults, which is the pager's.
 */
import {
  DeviceSpace,
  GpuVmEngine,
  PAGE_SIZE as PAGE,
  Prng,
  printRawKernel,
  shapeCase,
  vmAbi,
} from '../src/index.ts';
import type { VmCase, VmProgramOptions } from '../src/index.ts';

const BASE = 0x1000_0000;

/** The ways to run a shape. */
export const VM_WAYS = ['raw', 'mmu', 'exact', 'log'] as const;

/** One of them. */
export type VmWay = (typeof VM_WAYS)[number];

/** How each way compiles; `raw` does not use the engine. */
const OPTIONS: Readonly<Record<Exclude<VmWay, 'raw'>, Partial<VmProgramOptions>>> = {
  mmu: { guard: 'none' },
  exact: {},
  log: { alwaysLog: true },
};

/** What is measured. */
export interface VmCostOptions {
  readonly shapes: readonly string[];
  readonly workgroups: number;
  readonly rounds: number;
  /** Milliseconds so far, of wall or processor time. */
  readonly clock: () => number;
}

/** One shape's times. */
export interface VmCost {
  readonly shape: string;
  /** How the first attempt keeps exactly-once. */
  readonly mode: string;
  /** Milliseconds, a sample a round. */
  readonly samples: Readonly<Record<VmWay, readonly number[]>>;
}

/** Measures one shape. Throws where a launch did not finish. */
export async function measureVmCost(
  device: GPUDevice,
  shape: string,
  options: VmCostOptions,
): Promise<VmCost> {
  const one = shapeCase(shape, options.workgroups, BASE, 3);
  const engine = new GpuVmEngine(device, one.bytes.length / PAGE);
  const raw = rawRunner(device, one);
  try {
    const { runs, mode } = await vmRunners(engine, one);
    const all = { raw: raw.run, ...runs };
    const samples: Record<VmWay, number[]> = { raw: [], mmu: [], exact: [], log: [] };
    // The first round warms up.
    for (let round = 0; round <= options.rounds; round++) {
      for (const way of VM_WAYS) {
        if (way === 'raw') raw.fill();
        else fill(engine, one);
        await device.queue.onSubmittedWorkDone();
        const start = options.clock();
        await all[way]();
        if (round > 0) samples[way].push(options.clock() - start);
      }
    }
    return { shape, mode, samples };
  } finally {
    raw.destroy();
    engine.destroy();
  }
}

/** Frames in random order, as a machine that has run for a while has them. */
function frameOrder(pages: number): Uint32Array {
  return new Prng(1).shuffle(Uint32Array.from({ length: pages }, (_, page) => page));
}

function fill(engine: GpuVmEngine, one: VmCase): void {
  for (const [page, frame] of frameOrder(one.bytes.length / PAGE).entries()) {
    engine.writeFrame(frame, one.bytes.subarray(page * PAGE, (page + 1) * PAGE));
  }
}

async function vmRunners(engine: GpuVmEngine, one: VmCase) {
  const space = new DeviceSpace(1);
  for (const [page, frame] of frameOrder(one.bytes.length / PAGE).entries()) {
    space.mapPage(one.base + page * PAGE, frame, vmAbi.PTE_ALL);
  }
  let mode = '';
  const runner = async (way: keyof typeof OPTIONS): Promise<() => Promise<void>> => {
    const options = { slots: one.workgroups, logWords: 64, ...OPTIONS[way] };
    const program = await engine.compile(one.kernel, options);
    if ('problems' in program) throw new Error(`${one.name}: ${program.problems[0]?.reason}`);
    if (way === 'exact') mode = program.firstAttempt;
    const run = program.launch(space, one.args);
    const replays = new Uint32Array();
    const fresh = Uint32Array.from({ length: one.workgroups * 2 }, (_, index) => index >>> 1);
    const work = { replays, fresh, budget: 1 << 20, forceAt: vmAbi.FORCE_NEVER };
    return async () => {
      const result = await run.pass(work);
      if (typeof result === 'number' || result.stopped > 0) {
        throw new Error(`${one.name}, ${way}: the launch did not finish in one pass`);
      }
    };
  };
  const runs = { mmu: await runner('mmu'), exact: await runner('exact'), log: await runner('log') };
  return { runs, mode };
}

/** The plain kernel, with a readback of the size that a pass has. */
function rawRunner(device: GPUDevice, one: VmCase) {
  const { STORAGE, COPY_DST, COPY_SRC, MAP_READ, UNIFORM } = GPUBufferUsage;
  const buffer = (size: number, usage: number): GPUBuffer => device.createBuffer({ size, usage });
  const memory = buffer(one.bytes.length, STORAGE | COPY_DST);
  const head = buffer(2 * PAGE, COPY_SRC);
  const back = buffer(2 * PAGE, MAP_READ | COPY_DST);
  const args = buffer(128, UNIFORM | COPY_DST);
  const inside = (word: number): boolean => word >= one.base && word < one.base + one.bytes.length;
  const words = one.args.map((word) => (inside(word) ? word - one.base : word));
  device.queue.writeBuffer(args, 0, Uint32Array.from(words));
  const module = device.createShaderModule({ code: printRawKernel(one.ir) });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [memory, args].map((bound, binding) => ({ binding, resource: { buffer: bound } })),
  });
  return {
    fill: () => device.queue.writeBuffer(memory, 0, one.bytes as Uint8Array<ArrayBuffer>),
    run: async () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(one.workgroups);
      pass.end();
      encoder.copyBufferToBuffer(head, 0, back, 0, 2 * PAGE);
      device.queue.submit([encoder.finish()]);
      await back.mapAsync(GPUMapMode.READ);
      back.unmap();
    },
    destroy: () => {
      for (const made of [memory, head, back, args]) made.destroy();
    },
  };
}

/** The value below which `share` of the samples lie. */
export function quantileOf(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

/** How many times as long as the plain kernel, by the medians. */
export function ratioOf(cost: VmCost, way: VmWay): number {
  return quantileOf(cost.samples[way], 0.5) / quantileOf(cost.samples.raw, 0.5);
}

/** The geometric mean over shapes. */
export function meanRatio(costs: readonly VmCost[], way: VmWay): number {
  const logs = costs.map((cost) => Math.log(ratioOf(cost, way)));
  return Math.exp(logs.reduce((sum, log) => sum + log, 0) / costs.length);
}
