/*
 * A kernel on the real machine: its memory in a process, the device that it faults on, and what
 * became of it.
 */
import { KernelCompileError, Machine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type {
  AccessTrace,
  DeviceKernel,
  KernelReport,
  LaunchServiceOptions,
  LaunchProgress,
  MachineOptions,
  PolicyName,
  Process,
  TestDevice,
} from '../../src/index.ts';
import { fillArrays, LANES } from './kernels.ts';
import { LOG_SIZES, recording, traceOfLogs } from './record.ts';
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
  /** Whose policy moves the pages; null: one by one, as they are asked for. */
  readonly policy: PolicyName | null;
  /** How the service that asks it is set up. */
  readonly service: LaunchServiceOptions;
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
  /** Words behind the arrays, as many as were asked for. */
  readonly extra: Uint32Array;
  /** Where the pages were at the end, before they were read home. */
  readonly map: Uint8Array;
}

const MIB = 2 ** 20;
const LOOK_MS = 50;
/** Faults whose lives a report has. */
const SHOWN_LIVES = 96;

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
   * @param order what to run, and how many zeroed words its memory has behind the arrays; their
   * address is the argument behind the others
   * @param onOpen told of the machine, as soon as there is one
   * @param onLook told now and then how far it is
   * @throws KernelCompileError, OpenError, ErrnoError, MachineError
   */
  async run(
    order: KernelOrder & { readonly extraWords?: number },
    onOpen: (machine: Machine) => void,
    onLook: (look: KernelLook) => void,
    signal: AbortSignal,
  ): Promise<KernelOutcome> {
    const machine = await this.open(order);
    onOpen(machine);
    try {
      const outcome = await this.runOn(machine, order, onLook, signal);
      // What has failed once is opened anew.
      if (outcome.report.outcome === 'failed') await this.close();
      return outcome;
    } catch (error) {
      if (!(error instanceof KernelCompileError)) await this.close();
      throw error;
    }
  }

  private async runOn(
    machine: Machine,
    order: KernelOrder & { readonly extraWords?: number },
    onLook: (look: KernelLook) => void,
    signal: AbortSignal,
  ): Promise<KernelOutcome> {
    await using process = await machine.spawn();
    const device = await process.openDevice(0);
    await using kernel = await device.compileKernel({
      wgsl: order.wgsl,
      lanes: LANES,
      window: order.window,
    });
    const before = fillArrays(order.fills, order.words, order.seed);
    const size = pagesOfOrder(order) * PAGE_SIZE;
    const extraBytes = Math.ceil(((order.extraWords ?? 0) * 4) / PAGE_SIZE) * PAGE_SIZE;
    const length = size + extraBytes;
    const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const bytes = new Uint8Array(size);
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
      const map = await process.pageMap(addr, size / PAGE_SIZE);
      // What was on a device that is lost is lost: reading it is SIGBUS.
      const isLost = report.outcome === 'failed';
      const left = isLost ? new Uint8Array(length) : await process.read(addr, length);
      const words = new Uint32Array(left.slice().buffer);
      const after = order.fills.map((_, i) => {
        return words.slice(i * order.words, (i + 1) * order.words);
      });
      const extra = words.slice(size / 4);
      const { firstAttempt, compileMs, window } = kernel;
      const made = { firstAttempt, compileMs, window };
      return { report, kernel: made, passes: notes, before, after, extra, map };
    } finally {
      await trace.close();
    }
  }

  /** Destroys the device as a driver crash would, under whatever runs on it. */
  async loseDevice(): Promise<void> {
    await this.machine?.loseDevice();
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
    { fills, words, policy, seed, ...order }: KernelOrder,
    onLook: (look: KernelLook) => void,
    signal: AbortSignal,
  ): Promise<KernelReport> {
    const args = [
      ...fills.map((_, i) => addr + i * words * 4),
      words,
      addr + fills.length * words * 4,
    ];
    const service = { seed, lives: SHOWN_LIVES, ...order.service };
    await using running = device.startLaunch(kernel, {
      workgroups: words / LANES,
      args,
      signal,
      ...(policy === null ? {} : { policy, service }),
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

  private async open({
    devicePages,
    fills,
    words,
    extraWords = 0,
  }: KernelOrder & { readonly extraWords?: number }): Promise<Machine> {
    const deviceBytes = devicePages * PAGE_SIZE;
    if (this.machine !== null && this.deviceBytes === deviceBytes) return this.machine;
    await this.close();
    const length = pagesOfOrder({ fills, words }) * PAGE_SIZE + extraWords * 4;
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

/**
 * Records what a kernel touches, on the same machine: see record.ts.
 *
 * @returns the trace, or why there is none
 * @throws as KernelRunner.run()
 */
export async function recordKernel(
  runner: KernelRunner,
  order: KernelOrder,
  name: string,
  onLook: (look: KernelLook) => void,
  signal: AbortSignal,
): Promise<AccessTrace | string> {
  const { fills, words } = order;
  const pages = pagesOfOrder(order);
  for (const logWords of LOG_SIZES) {
    const extraWords = words * logWords;
    const wgsl = recording(order.wgsl, fills.length, logWords);
    if (wgsl === null) return 'there is no fn kernel(wg: u32, lid: u32)';
    // Everything has room, and comes in large pieces: only what is touched matters.
    const devicePages = pages + Math.ceil((extraWords * 4) / PAGE_SIZE);
    const roomy = { ...order, wgsl, devicePages, extraWords, policy: 'kfd' } as const;
    const { report, extra } = await runner.run(roomy, () => {}, onLook, signal);
    if (report.outcome !== 'done') return `its run ended as ${report.outcome}: ${report.cause}`;
    const trace = traceOfLogs(name, extra, logWords, LANES, pages);
    if (trace !== null) return trace;
  }
  return `an invocation changes pages more than ${LOG_SIZES.at(-1)} times`;
}
