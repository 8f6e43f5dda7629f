/*
 * A kernel on the real machine: its memory in a process, the device that it faults on, and what
 * became of it.
 */
import { Machine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type {
  DeviceKernel,
  KernelReport,
  LaunchProgress,
  MachineOptions,
  Process,
  TestDevice,
} from '../../src/index.ts';
import { fillArrays, LANES } from './kernels.ts';
import type { Fill } from './kernels.ts';

/** What to run. */
export interface KernelOrder {
  readonly wgsl: string;
  readonly fills: readonly Fill[];
  /** Words of each array, whole pages. */
  readonly words: number;
  /** Pages of device memory. */
  readonly devicePages: number;
  /** Workgroups in flight. */
  readonly window: number;
  readonly seed: number;
}

/** A pass of a launch. */
export interface PassNote {
  readonly faults: number;
  readonly finished: number;
  readonly replayed: number;
}

/** What it looks like while it runs. */
export interface KernelLook {
  readonly progress: LaunchProgress;
  /** A PAGE_* code per page of all arrays. */
  readonly map: Uint8Array;
}

/** What came out. */
export interface KernelOutcome {
  readonly report: KernelReport;
  readonly kernel: Pick<DeviceKernel, 'firstAttempt' | 'compileMs' | 'window'>;
  readonly passes: readonly PassNote[];
  readonly before: readonly Uint32Array[];
  readonly after: readonly Uint32Array[];
  /** Where the pages were at the end, before they were read home. */
  readonly map: Uint8Array;
}

const MIB = 2 ** 20;
const LOOK_MS = 50;

/** Pages of an order's arrays. */
export function pagesOfOrder({ fills, words }: Pick<KernelOrder, 'fills' | 'words'>): number {
  return (fills.length * words * 4) / PAGE_SIZE;
}

export class KernelRunner {
  private readonly options: (own: MachineOptions) => MachineOptions;
  private machine: Machine | null = null;
  private deviceBytes = 0;

  /** @param options adds what the address chooses */
  constructor(options: (own: MachineOptions) => MachineOptions) {
    this.options = options;
  }

  /**
   * Compiles and runs, in a process of its own.
   *
   * @param onOpen told of the machine, as soon as there is one
   * @param onLook told now and then how far it is
   * @throws KernelCompileError, OpenError, ErrnoError, MachineError
   */
  async run(
    order: KernelOrder,
    onOpen: (machine: Machine) => void,
    onLook: (look: KernelLook) => void,
    signal: AbortSignal,
  ): Promise<KernelOutcome> {
    const machine = await this.open(order);
    onOpen(machine);
    await using process = await machine.spawn();
    const device = await process.openDevice(0);
    await using kernel = await device.compileKernel({
      wgsl: order.wgsl,
      lanes: LANES,
      window: order.window,
    });
    const before = fillArrays(order.fills, order.words, order.seed);
    const length = pagesOfOrder(order) * PAGE_SIZE;
    const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const bytes = new Uint8Array(length);
    before.forEach((array, i) => bytes.set(new Uint8Array(array.buffer), i * array.byteLength));
    await process.write(addr, bytes);
    const notes: PassNote[] = [];
    const trace = await machine.trace(
      (events) => {
        for (const event of events) if (event.type === 'device_pass') notes.push(event);
      },
      { events: ['device_pass'] },
    );
    try {
      const report = await this.launch(device, kernel, process, addr, order, onLook, signal);
      const map = await process.pageMap(addr, length / PAGE_SIZE);
      const after = wordsOf(await process.read(addr, length), order);
      const { firstAttempt, compileMs, window } = kernel;
      const made = { firstAttempt, compileMs, window };
      return { report, kernel: made, passes: notes, before, after, map };
    } finally {
      await trace.close();
    }
  }

  /** Gives the machine back. */
  async close(): Promise<void> {
    await this.machine?.close();
    this.machine = null;
  }

  private async launch(
    device: TestDevice,
    kernel: DeviceKernel,
    process: Process,
    addr: number,
    { fills, words }: KernelOrder,
    onLook: (look: KernelLook) => void,
    signal: AbortSignal,
  ): Promise<KernelReport> {
    const args = [...fills.map((_, i) => addr + i * words * 4), words];
    await using running = device.startLaunch(kernel, {
      workgroups: words / LANES,
      args,
      signal,
    });
    const watch = { isOver: false };
    const ended = running.report.finally(() => (watch.isOver = true));
    const pages = pagesOfOrder({ fills, words });
    while (!watch.isOver) {
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, LOOK_MS))]);
      onLook({ progress: running.progress, map: await process.pageMap(addr, pages) });
    }
    return ended;
  }

  private async open({ devicePages, fills, words }: KernelOrder): Promise<Machine> {
    const deviceBytes = devicePages * PAGE_SIZE;
    if (this.machine !== null && this.deviceBytes === deviceBytes) return this.machine;
    await this.close();
    const length = pagesOfOrder({ fills, words }) * PAGE_SIZE;
    const machine = await Machine.create(
      this.options({
        ramBytes: Math.max(32 * MIB, 2 ** Math.ceil(Math.log2(length * 4))),
        devices: 1,
        coherentDevices: 0,
        deviceBytes,
        chunkBytes: deviceBytes,
      }),
    );
    [this.machine, this.deviceBytes] = [machine, deviceBytes];
    return machine;
  }
}

function wordsOf(bytes: Uint8Array, { fills, words }: KernelOrder): Uint32Array[] {
  const all = new Uint32Array(bytes.slice().buffer);
  return fills.map((_, i) => all.slice(i * words, (i + 1) * words));
}
