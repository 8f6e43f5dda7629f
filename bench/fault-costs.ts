/*
 * What serving faults costs on wall time: a kernel that touches one word of each page of a
 * process's memory, under a policy, against the same copies, dispatches and readbacks issued bare.
 *
 * Bare means the same kernel and passes on the same adapter, page-table entries put in by hand, and
 * the same copies by the machine's copy engine, frame by frame as a run under the policy did them:
 * no address space, no migration, no service. Both sides run in turn, round after round. What
 * brings pages home before each is not timed, and neither is what the side before has left: both
 * begin at rest, with all pages in RAM.
 *
 * Leaves out: what a policy's choices cost in other patterns; see the experiments of
 * docs/device-faults.md, which are on the virtual clock.
 */
import {
  bootMachine,
  CommandList,
  DeviceSpace,
  GpuVmEngine,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
  vmAbi,
} from '../src/index.ts';
import type {
  DeviceKernel,
  KernelReport,
  LocalMachine,
  TestDevice,
  VmProgram,
} from '../src/index.ts';

/** A word of each page is read and written, by a workgroup of one invocation. */
const COLUMN = `fn kernel(wg: u32, lid: u32) {
  let at = vm_arg(0u) + wg * 4096u;
  vm_store(at, vm_load(at) + 1u);
}`;
/** A workgroup of one invocation stores to a word of each of so many pages, one after the other. */
const SWEEP = `fn kernel(wg: u32, lid: u32) {
  for (var i = 0u; i < vm_arg(1u); i++) {
    vm_store(vm_arg(0u) + (wg * vm_arg(1u) + i) * 4096u, i);
  }
}`;
/** Faults in a batch. */
const BATCH = 256;
/** The policy without prefetch, its faults in batches as the tree's. */
const SERVICE = { replay: 'batch-flush', batchLimit: BATCH } as const;

/** How a run under a policy went. */
export interface ServedRun {
  readonly ms: number;
  readonly faults: number;
  readonly batches: number;
  readonly passes: number;
}

/** A machine with memory to fault on, and the parts to do the same by hand. */
export class FaultBench {
  readonly pages: number;
  private readonly machine: LocalMachine;
  private readonly device: TestDevice;
  private readonly kernels: Kernels;
  private readonly bareEngine: GpuVmEngine;
  private readonly addr: number;
  private program: VmProgram | undefined;
  /** The copies of a run without prefetch, whole windows of them. */
  private copies: CommandList[] = [];
  /** Waited for before each side begins: what others have left behind is none of its own. */
  rest: () => Promise<void> = () => Promise.resolve();

  private constructor(
    pages: number,
    machine: LocalMachine,
    device: TestDevice,
    kernels: Kernels,
    addr: number,
  ) {
    this.pages = pages;
    this.machine = machine;
    this.device = device;
    this.kernels = kernels;
    this.addr = addr;
    const { device: gpu, vram } = gpuOf(machine);
    this.bareEngine = new GpuVmEngine(gpu, 2 * pages, vram.arenas[0]);
  }

  /** Boots a machine whose device has twice as much memory: half is for `copyRate`. */
  static async open(pages: number): Promise<FaultBench> {
    const bytes = pages * PAGE_SIZE;
    const machine = await bootMachine({
      engine: 'webgpu',
      ramBytes: 3 * bytes,
      deviceBytes: 2 * bytes,
      chunkBytes: bytes,
    });
    const process = await machine.spawn();
    const device = await process.openDevice(0);
    const addr = await process.mmap({ length: bytes, prot: PROT_READ | PROT_WRITE });
    const part = new Uint8Array(Math.min(bytes, 2 ** 20)).fill(7);
    for (let at = 0; at < bytes; at += part.length) await process.write(addr + at, part);
    const options = { lanes: 1, window: 1024 };
    // With as many slots as its bare twin has: each pass clears and reads back what slots need.
    const own = { name: 'column', lanes: 1, window: BATCH };
    const column = await device.compileKernel({ ...own, wgsl: COLUMN });
    const sweep = await device.compileKernel({ name: 'sweep', wgsl: SWEEP, ...options });
    return new FaultBench(pages, machine, device, { column, sweep }, addr);
  }

  /** What the copies, dispatches and readbacks ran on. */
  get adapter(): string {
    const { vendor, architecture, description } = this.machine.kernel.engine.adapter;
    return `${vendor} ${architecture} ${description}`.trim();
  }

  /**
   * One launch under a policy, everything in RAM at first.
   *
   * @param each pages of a workgroup, which touches them one after the other
   */
  async served(policy: string, window: number, each = 1): Promise<ServedRun> {
    await this.bringHome();
    await this.rest();
    return this.launch(policy, window, each);
  }

  private async launch(policy: string, window: number, each: number): Promise<ServedRun> {
    const service = policy === 'none' ? SERVICE : {};
    const start = performance.now();
    const report: KernelReport = await this.device.launch(
      this.kernels[each === 1 ? 'column' : 'sweep'],
      {
        workgroups: this.pages / each,
        args: [this.addr, each],
        window,
        policy,
        service,
      },
    );
    const ms = performance.now() - start;
    if (report.outcome !== 'done') throw new Error(`${policy}: ${report.outcome} ${report.cause}`);
    const { faults, batches } = report.service!.counts;
    return { ms, faults, batches, passes: report.passes };
  }

  /** The same copies, dispatches and readbacks by hand, `BATCH` pages at a time. */
  async bare(): Promise<number> {
    const { bareEngine, machine } = this;
    const { engine } = machine.kernel;
    const { hostFrames } = engine.geometry;
    const program = await this.bareProgram();
    if (this.copies.length === 0) this.copies = await this.recordCopies();
    // Their targets are free, as they were for the run that is done again.
    await this.bringHome();
    await this.rest();
    const slot = { budget: 1 << 16, forceAt: vmAbi.FORCE_NEVER };
    const none = new Uint32Array();
    let first = 0;
    const start = performance.now();
    // A context is made and given back by either side.
    const space = new DeviceSpace(2);
    const run = program.launch(space, [0]);
    for (const list of this.copies) {
      const work = Uint32Array.from({ length: 2 * BATCH }, (_, i) =>
        i % 2 === 0 ? first + (i >>> 1) : i >>> 1,
      );
      await run.pass({ replays: none, fresh: work, ...slot });
      const status = await engine.submit(list, 'auto');
      if (status !== 0) throw new Error(`the copy engine answers ${status}`);
      for (let i = 0; i < BATCH; i++, first++) {
        space.mapPage(first * PAGE_SIZE, list.target[i]! - hostFrames, vmAbi.PTE_ALL);
      }
      const result = await run.pass({ replays: work, fresh: none, ...slot });
      if (typeof result === 'number' || result.stopped > 0) throw new Error('a pass stopped');
    }
    run.end();
    bareEngine.drop(space);
    return performance.now() - start;
  }

  /**
   * Copies pages to the device, so many to a command of the copy engine, each waited for: what a
   * driver pays that copies in batches of that size.
   *
   * @returns GB/s, 10^9 bytes
   */
  async copyRate(pages: number, perCommand: number): Promise<number> {
    const { engine } = this.machine.kernel;
    const { hostFrames } = engine.geometry;
    const list = new CommandList(perCommand);
    const start = performance.now();
    for (let first = 0; first < pages; first += perCommand) {
      list.reset();
      for (let i = first; i < first + perCommand; i++) {
        list.copy(hostFrames - this.pages + i, hostFrames + this.pages + i);
      }
      const status = await engine.submit(list, 'auto');
      if (status !== 0) throw new Error(`the copy engine answers ${status}`);
    }
    return (pages * PAGE_SIZE) / 1e6 / (performance.now() - start);
  }

  /** Runs the kernel once under the policy, and keeps the copies that were made for it. */
  private async recordCopies(): Promise<CommandList[]> {
    const { engine } = this.machine.kernel;
    const lists: CommandList[] = [];
    const submit = engine.submit.bind(engine);
    await this.bringHome();
    engine.submit = (list, strategy) => {
      const same = new CommandList(list.length);
      for (let row = 0; row < list.length; row++) same.copy(list.source[row]!, list.target[row]!);
      lists.push(same);
      return submit(list, strategy);
    };
    try {
      await this.launch('none', BATCH, 1);
    } finally {
      engine.submit = submit;
    }
    const isAlike = lists.every(({ length, pages }) => length === BATCH && pages === BATCH);
    if (!isAlike || lists.length * BATCH !== this.pages) {
      throw new Error('batches were not copied as a window each');
    }
    return lists;
  }

  /** Compiled once: a pipeline takes longer than a run. */
  private async bareProgram(): Promise<VmProgram> {
    if (this.program !== undefined) return this.program;
    const kernel = { name: 'column', lanes: 1, wgsl: COLUMN };
    const program = await this.bareEngine.compile(kernel, { slots: BATCH });
    if ('problems' in program) throw new Error(program.problems[0]?.reason);
    this.program = program;
    return program;
  }

  private async bringHome(): Promise<void> {
    const npages = this.pages;
    await this.device.ioctl('MIGRATE_TO_SYS', { addr: this.addr, ptr: 0, npages });
  }

  async close(): Promise<void> {
    this.bareEngine.destroy();
    await this.machine.close();
  }
}

type Kernels = Readonly<Record<'column' | 'sweep', DeviceKernel>>;

interface GpuParts {
  readonly device: GPUDevice;
  readonly vram: { readonly arenas: readonly GPUBuffer[] };
}

/** The parts of the machine's own engine: both sides have the same device and the same arena. */
function gpuOf(machine: LocalMachine): GpuParts {
  return machine.kernel.engine as unknown as GpuParts;
}
