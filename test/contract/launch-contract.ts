/*
 * Kernels through the facade: what a program sees of them, on any engine and in any thread. Cases
 * bring their memory and an oracle that runs without faults.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import {
  errno,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PAGE_SIZE,
  POLICIES,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type {
  DeviceKernel,
  KernelReport,
  LaunchOptions,
  Machine,
  MachineEvent,
  MachineOptions,
  Process,
  TestDevice,
} from '../../src/index.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const MIB = 2 ** 20;

/** How machines are opened here. */
export type OpenMachine = (options: MachineOptions) => Promise<Machine>;

/** A process with an open device. */
export interface LaunchRig {
  readonly machine: Machine;
  readonly process: Process;
  readonly device: TestDevice;
}

/** A machine of `pages` device pages. */
export async function openRig(
  open: OpenMachine,
  engine: 'cpu' | 'webgpu',
  pages: number,
): Promise<LaunchRig> {
  const deviceBytes = pages * PAGE_SIZE;
  const sizes = { ramBytes: 8 * MIB, deviceBytes, chunkBytes: deviceBytes };
  const machine = await open({ engine, ...sizes });
  const process = await machine.spawn();
  return { machine, process, device: await process.openDevice(0) };
}

/** A case in a process's memory. */
export interface Placed {
  readonly one: VmCase;
  readonly addr: number;
  /** For `launch`: the case's own addresses are meant from here on. */
  readonly origin: number;
}

/** Address of a case's memory in its own address space: not 0, so that origins matter. */
const BASE = 16 * PAGE_SIZE;

/** Maps a shape's memory, private or of these `flags`. */
export async function place(
  { process }: LaunchRig,
  shape: string,
  workgroups = 4,
  seed = 3,
  flags = MAP_PRIVATE | MAP_ANONYMOUS,
): Promise<Placed> {
  const one = shapeCase(shape, workgroups, BASE, seed);
  const { length } = one.bytes;
  const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE, flags });
  await process.write(addr, one.bytes);
  return { one, addr, origin: addr - BASE };
}

/** Launches a placed case. */
export function launchPlaced(
  { device }: LaunchRig,
  kernel: DeviceKernel,
  { one, origin }: Placed,
  options: Partial<LaunchOptions> = {},
): Promise<KernelReport> {
  const { workgroups, args } = one;
  return device.launch(kernel, { workgroups, args, origin, ...options });
}

/** The process's memory is what a run without faults leaves. */
export async function expectPlaced({ process }: LaunchRig, { one, addr }: Placed): Promise<void> {
  expectMemory(one, await process.read(addr, one.bytes.length), oracleOf(one));
}

/** A policy of a user that does what `none` does, by its source, as a module that can be loaded. */
const MODULE = (body: string): string =>
  `data:text/javascript,${encodeURIComponent(`export const policy = { ${body} };`)}`;

function describePolicies(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  beforeAll(async () => {
    rig = await openRig(open, engine, 64);
    kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
  });
  afterAll(() => rig.machine.close());

  it('every policy: the same memory; the report has what the service did', async () => {
    for (const policy of POLICIES) {
      const placed = await place(rig, 'accumulate');
      const service = { lives: 64, devicePages: 8 };
      const report = await launchPlaced(rig, kernel, placed, { policy, service });
      expect(report, policy).toMatchObject({ outcome: 'done', killed: 0, service: { policy } });
      await expectPlaced(rig, placed);
      const { counts, virtualUs, lives, moved, batchUs } = report.service!;
      expect(counts.batches, policy).toBeGreaterThan(0);
      expect(batchUs.length, policy).toBe(counts.batches);
      expect(lives.length, policy).toBeGreaterThan(0);
      // What a policy leaves in RAM is lent, pass by pass.
      expect(moved.in + report.pages.remote, policy).toBeGreaterThan(0);
      expect(virtualUs > 0, policy).toBe(policy === 'nouveau' || counts.movedPages > 0);
      await rig.process.munmap(placed.addr, placed.one.bytes.length);
    }
  });

  it('a limit of device pages makes a policy evict, which without it need not', async () => {
    const evictions: number[] = [];
    for (const service of [{}, { devicePages: 2, evict: 'lru4k' } as const]) {
      const placed = await place(rig, 'accumulate');
      const report = await launchPlaced(rig, kernel, placed, { policy: 'none', service });
      expect(report.outcome).toBe('done');
      evictions.push(report.pages.evicted);
      await rig.process.munmap(placed.addr, placed.one.bytes.length);
    }
    expect(evictions[0]).toBe(0);
    expect(evictions[1]).toBeGreaterThan(0);
  });

  it('a policy that throws, or answers nonsense, ends its launch, with cause', async () => {
    const placed = await place(rig, 'accumulate');
    const thrower = MODULE('onFaults() { throw new Error("no idea"); }, chooseVictims() {}');
    const failed = await launchPlaced(rig, kernel, placed, { policy: thrower });
    expect(failed).toMatchObject({ outcome: 'failed', errno: errno.EINVAL });
    expect(failed.cause).toContain('onFaults: throws: no idea');
    const half = MODULE('chooseVictims() {}');
    for (const [policy, why] of [
      [half, 'has no method onFaults'],
      ['uvmm', 'give a URL, or one of'],
      ['data:text/javascript,export const (', 'be loaded'],
    ] as const) {
      const launch = launchPlaced(rig, kernel, placed, { policy });
      await expect(launch, policy).rejects.toMatchObject({ errno: errno.EINVAL });
      await expect(launch, policy).rejects.toThrow(why);
    }
    for (const service of [{ devicePages: 0 }, { evict: 'x' }, { cost: { farFaultUs: -1 } }]) {
      const options = { policy: 'uvm', service } as Partial<LaunchOptions>;
      const launch = launchPlaced(rig, kernel, placed, options);
      await expect(launch).rejects.toMatchObject({ errno: errno.EINVAL });
    }
    const report = await launchPlaced(rig, kernel, placed, { policy: 'uvm' });
    expect(report).toMatchObject({ outcome: 'done', cause: '' });
    await expectPlaced(rig, placed);
  });
}

/** Declares the suite. */
export function describeLaunches(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  describe(`kernels through the facade: ${engine}`, () => {
    describeShapes(engine, open);
    describeWatching(engine, open);
    describeArguments(engine, open);
    describePolicies(engine, open);
  });
}

function describeShapes(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  for (const pages of [256, 1]) {
    it(`every shape, with ${pages} device pages`, { timeout: 240_000 }, async () => {
      const rig = await openRig(open, engine, pages);
      for (const shape of SHAPE_NAMES) {
        const placed = await place(rig, shape);
        const kernel = await rig.device.compileKernel({ shape, window: 4, checkReplays: true });
        const report = await launchPlaced(rig, kernel, placed);
        expect(report, shape).toMatchObject({ outcome: 'done', errno: 0, cause: '', killed: 0 });
        expect(report.finished, shape).toBe(placed.one.workgroups);
        expect(report.pages.mapped, shape).toBeGreaterThan(0);
        expect(report.refusals, shape).toEqual([]);
        await expectPlaced(rig, placed);
        await rig.process.munmap(placed.addr, placed.one.bytes.length);
        await kernel.release();
      }
      await rig.machine.close();
    });
  }
}

function describeWatching(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  beforeAll(async () => {
    rig = await openRig(open, engine, 8);
    kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 2 });
  });
  afterAll(() => rig.machine.close());

  it('progress, counters and trace say the same as the report', async () => {
    const placed = await place(rig, 'accumulate');
    const before = (name: 'device_kernel_pass' | 'device_kernel_fault'): number =>
      rig.machine.vmstat.read(name);
    const passes = before('device_kernel_pass');
    const faults = before('device_kernel_fault');
    const events: MachineEvent[] = [];
    const trace = await rig.machine.trace((some) => void events.push(...some), {
      events: ['device_pass', 'device_fault'],
    });
    const { workgroups, args } = placed.one;
    const { origin } = placed;
    const running = rig.device.startLaunch(kernel, { workgroups, args, origin });
    const report = await running.report;
    await trace.close();
    expect(report.outcome).toBe('done');
    const { finished, replayed, overflow, killed } = report;
    const counts = { passes: report.passes, faults: report.faults };
    expect(running.progress).toEqual({ ...counts, finished, replayed, overflow, killed });
    expect(before('device_kernel_pass') - passes).toBe(report.passes);
    expect(before('device_kernel_fault') - faults).toBe(report.faults);
    const seen = events.filter(({ type }) => type === 'device_pass');
    expect(seen.length).toBe(report.passes);
    expect(seen.at(-1)).toMatchObject({ pass: report.passes - 1, finished, device: 0 });
    // Pages come with the service of the first pass, and there are as many as the report says.
    const used = seen.map((event) => (event as { pagesInUse: number }).pagesInUse);
    expect([used[0], used.at(-1)]).toEqual([0, report.pages.mapped - report.pages.evicted]);
    const first = events.find(({ type }) => type === 'device_fault');
    expect(first).toMatchObject({ pid: rig.process.pid, pass: 0 });
    const { length } = placed.one.bytes;
    const { address } = first as { address: number } & MachineEvent;
    expect(address >= placed.addr && address < placed.addr + length).toBe(true);
    expect(report.totalMs).toBeGreaterThanOrEqual(report.serveMs);
  });

  it('an abort ends a launch; what it has stored stays, and the device serves others', async () => {
    const placed = await place(rig, 'accumulate', 16);
    const { workgroups, args } = placed.one;
    const { origin } = placed;
    const controller = new AbortController();
    controller.abort();
    const { signal } = controller;
    const none = await rig.device.launch(kernel, { workgroups, args, origin, signal });
    expect(none).toMatchObject({ outcome: 'aborted', finished: 0, cause: 'the caller ended it' });
    const running = rig.device.startLaunch(kernel, { workgroups, args, origin, window: 1 });
    running.abort();
    expect((await running.report).outcome).toBe('aborted');
    await rig.process.write(placed.addr, placed.one.bytes);
    expect((await launchPlaced(rig, kernel, placed)).outcome).toBe('done');
    await expectPlaced(rig, placed);
  });
}

function describeArguments(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  beforeAll(async () => {
    rig = await openRig(open, engine, 8);
    kernel = await rig.device.compileKernel({ shape: 'swap' });
  });
  afterAll(() => rig.machine.close());

  const fails = async (code: number, options: unknown): Promise<void> => {
    const launch = rig.device.launch(kernel, options as LaunchOptions);
    await expect(launch).rejects.toMatchObject({ name: 'ErrnoError', errno: code });
  };

  it('addresses of the process are arguments as they are', async () => {
    const { one, addr } = await place(rig, 'swap');
    const args = one.args.map((value) => value - BASE + addr);
    const { workgroups } = one;
    expect((await rig.device.launch(kernel, { workgroups, args })).outcome).toBe('done');
    await expectPlaced(rig, { one, addr, origin: 0 });
  });

  it('a launch that is refused says which argument, and what it may be', async () => {
    const launch = (options: unknown): Promise<unknown> =>
      rig.device.launch(kernel, options as LaunchOptions);
    await expect(launch({ workgroups: 0 })).rejects.toThrow(/workgroups is a whole number from 1/);
    await expect(launch({ workgroups: 1, args: [4, -1] })).rejects.toThrow(/args\[1\] is no word/);
    const far = { workgroups: 1, args: [2 ** 40, 2 ** 40 + 2 ** 33] };
    await expect(launch(far)).rejects.toThrow(/args\[1\] is not in the 4 GiB from origin/);
  });

  it("bad launches are refused with the kernel's errnos", async () => {
    const { EINVAL, EFAULT, EBADF } = errno;
    for (const workgroups of [0, -1, 1.5, Number.NaN, 2 ** 31 + 1, '4', undefined]) {
      await fails(EINVAL, { workgroups });
    }
    for (const origin of [1, -PAGE_SIZE, 2 ** 47, Number.NaN]) {
      await fails(EINVAL, { workgroups: 1, origin });
    }
    for (const args of [[-1], [0.5], [Number.NaN], ['0'], 7, Array(33).fill(0)]) {
      await fails(EINVAL, { workgroups: 1, args });
    }
    await fails(EFAULT, { workgroups: 1, args: [2 ** 40, 2 ** 40 + 2 ** 33] });
    await fails(EFAULT, { workgroups: 1, args: [2 ** 40], origin: 0 });
    for (const budget of [0, 2 ** 31 + 1]) await fails(EINVAL, { workgroups: 1, budget });
    for (const window of [0, 4097]) await fails(EINVAL, { workgroups: 1, window });
    const other = await rig.process.openDevice(1);
    const gone = await other.compileKernel({ shape: 'swap' });
    await other.close();
    const late = rig.device.launch(gone, { workgroups: 1 });
    await expect(late).rejects.toMatchObject({ errno: EBADF });
    await expect(gone.release()).rejects.toMatchObject({ errno: EBADF });
  });

  it('what is no kernel is refused with a reason', async () => {
    const refused = async (source: object, reason: string): Promise<void> => {
      const compiling = rig.device.compileKernel(source);
      const problems = [{ line: 1, column: 1, reason: expect.stringContaining(reason) as string }];
      await expect(compiling).rejects.toMatchObject({ name: 'ErrnoError', problems });
    };
    await refused({}, 'give wgsl');
    await refused({ shape: 'swap', wgsl: 'fn kernel() {}' }, 'give wgsl');
    await refused({ shape: 'toString' }, 'no such shape');
    await refused({ shape: 'swap', window: 0 }, 'window');
    await refused({ wgsl: 7 }, 'no text');
    await refused({ wgsl: '', lanes: 257 }, '256 invocations');
    const coherent = await rig.process.openDevice(2);
    const compiling = coherent.compileKernel({ shape: 'swap' });
    await expect(compiling).rejects.toMatchObject({ errno: errno.EOPNOTSUPP });
  });
}
