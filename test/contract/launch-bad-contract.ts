/*
 * What may go wrong with a kernel through the facade: each is reported with cause and place and
 * ends its context alone; other contexts and the CPU go on, and no page is lost.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errno, KernelCompileError, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { KernelReport, RunningLaunch } from '../../src/index.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig, OpenMachine, Placed } from './launch-contract.ts';

/** Declares the suite. */
export function describeBadLaunches(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  describe(`kernels that go wrong: ${engine}`, { timeout: 120_000 }, () => {
    describeEnds(engine, open);
    describeGone(engine, open);
    if (engine === 'webgpu') describeWgsl(open);
  });
}

/**
 * A launch that has begun to run and does not come to its end: a pass for each of many
 * workgroups, of which but the first find memory of theirs.
 */
async function runningLaunch(
  rig: LaunchRig,
): Promise<{ running: RunningLaunch; placed: Placed; report: Promise<KernelReport> }> {
  const kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 1 });
  const placed = await place(rig, 'accumulate', 64);
  const { args } = placed.one;
  const request = { workgroups: 2 ** 15, args, origin: placed.origin };
  const running = rig.device.startLaunch(kernel, request);
  while (running.progress.passes < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  return { running, placed, report: running.report };
}

function describeEnds(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  let rig: LaunchRig;
  beforeAll(async () => {
    rig = await openRig(open, engine, 16);
  });
  afterAll(() => rig.machine.close());

  it('more rounds than its budget: ended; one beside it is not', async () => {
    const kernel = await rig.device.compileKernel({ shape: 'accumulate' });
    const [bad, good] = [await place(rig, 'accumulate'), await place(rig, 'accumulate')];
    const [ended, done] = await Promise.all([
      launchPlaced(rig, kernel, bad, { budget: 1 }),
      launchPlaced(rig, kernel, good),
    ]);
    expect(ended).toMatchObject({ outcome: 'endless', errno: 0 });
    expect(ended.workgroup).toBeGreaterThanOrEqual(0);
    const who = `workgroup ${ended.workgroup}: an invocation`;
    expect(ended.cause).toContain(`${who} took more than its budget of 1 rounds`);
    expect(done).toMatchObject({ outcome: 'done', killed: 0 });
    await expectPlaced(rig, good);
  });

  it('F6: an address that the process has not: refused by name, others finish', async () => {
    const kernel = await rig.device.compileKernel({ shape: 'swap' });
    const placed = await place(rig, 'swap', 64);
    const [first] = placed.one.args as [number];
    const hole = placed.origin + first + PAGE_SIZE;
    await rig.process.munmap(hole, PAGE_SIZE);
    const report = await launchPlaced(rig, kernel, placed);
    expect(report).toMatchObject({ outcome: 'done', errno: 0, finished: 64 });
    // 1024 of its words were there, 64 to a workgroup.
    expect(report.killed).toBe(1024);
    const [refusal] = report.refusals;
    expect(refusal).toMatchObject({ reason: 'EFAULT' });
    expect(Math.floor(refusal!.address / PAGE_SIZE)).toBe(hole / PAGE_SIZE);
    expect(refusal!.workgroup).toBeGreaterThanOrEqual(16);
    expect(report.pages.refused).toBe(1);
  });

  it('beyond the end of all addresses is nothing but a bad address', async () => {
    const kernel = await rig.device.compileKernel({ shape: 'swap' });
    const origin = 2 ** 47 - PAGE_SIZE;
    const args = [2 * PAGE_SIZE, 4 * PAGE_SIZE];
    const report = await rig.device.launch(kernel, { workgroups: 1, args, origin });
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
    expect(report.refusals.every(({ reason }) => reason === 'EFAULT')).toBe(true);
    expect(report.refusals[0]!.address).toBeGreaterThanOrEqual(2 ** 47);
  });

  it('more faults than the ring holds: counted, and they come again', async () => {
    const kernel = await rig.device.compileKernel({ shape: 'hashInsert', ringRecords: 1 });
    const placed = await place(rig, 'hashInsert', 16);
    const report = await launchPlaced(rig, kernel, placed);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(report.overflow).toBeGreaterThan(0);
    await expectPlaced(rig, placed);
  });
}

function describeGone(engine: 'cpu' | 'webgpu', open: OpenMachine): void {
  it('close of its device ends a launch; its pages are there, the next one goes on', async () => {
    const rig = await openRig(open, engine, 2);
    const { placed, report } = await runningLaunch(rig);
    await rig.device.close();
    expect(await report).toMatchObject({ outcome: 'aborted', cause: 'its device was closed' });
    const again = { ...rig, device: await rig.process.openDevice(0) };
    await rig.process.write(placed.addr, placed.one.bytes);
    const kernel = await again.device.compileKernel({ shape: 'accumulate' });
    expect((await launchPlaced(again, kernel, placed)).outcome).toBe('done');
    await expectPlaced(again, placed);
    await rig.machine.close();
  });

  it('exit of its process ends a launch; no page of the device is lost', async () => {
    const rig = await openRig(open, engine, 2);
    const other = await rig.machine.spawn();
    const beside = { ...rig, process: other, device: await other.openDevice(0) };
    const kernel = await beside.device.compileKernel({ shape: 'histogram' });
    const kept = await place(beside, 'histogram');
    const { report } = await runningLaunch(rig);
    const counting = launchPlaced(beside, kernel, kept);
    await rig.process.exit();
    expect((await report).outcome).toBe('aborted');
    expect(await counting).toMatchObject({ outcome: 'done', killed: 0 });
    await expectPlaced(beside, kept);
    await other.exit();
    const [device] = (await rig.machine.counters()).devices;
    expect(device!.calloc).toBeGreaterThan(0);
    expect(device!.cfree).toBe(device!.calloc);
    await rig.machine.close();
  });

  it('close of the machine ends a launch', async () => {
    const rig = await openRig(open, engine, 2);
    const { report } = await runningLaunch(rig);
    const seen = report.catch((error: Error) => error.name);
    await rig.machine.close();
    const end = await seen;
    // Its answer may or may not have come before the machine was gone.
    if (typeof end === 'string') expect(end).toBe('MachineError');
    else expect(end.outcome).toBe('aborted');
  });

  it('a device that is lost in mid-service: ENODEV, and the CPU side goes on', async () => {
    const rig = await openRig(open, engine, 2);
    const { report } = await runningLaunch(rig);
    const plain = await rig.process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
    await rig.process.write(plain, new Uint8Array([1, 2, 3]));
    await rig.machine.loseDevice();
    const lost = await report;
    expect(lost).toMatchObject({ outcome: 'failed', errno: errno.ENODEV });
    expect(lost.cause).toMatch(/^ENODEV: the device was lost in pass \d+$/);
    expect([...(await rig.process.read(plain, 3))]).toEqual([1, 2, 3]);
    const late = rig.device.compileKernel({ shape: 'swap' });
    await expect(late).rejects.toMatchObject({ errno: errno.ENODEV });
    await rig.process.exit();
    await rig.machine.close();
  });
}

const HEAD = 'fn kernel(wg: u32, lid: u32) {';
const COUNT = `var<workgroup> n: atomic<u32>; var<workgroup> t: u32; ${HEAD}`;

/** Kernels that are refused: text, and line, column and reason of the first problem. */
const REFUSED: readonly (readonly [string, number, number, RegExp])[] = [
  [`${HEAD}\n  let x: f32 = vm_load(0u);\n}`, 2, 7, /f32/],
  [`${HEAD}\n  for (;;) { let y: bool = 1u; }\n}`, 2, 18, /bool/],
  [`${HEAD}\n  let = 3;\n}`, 2, 7, /Expected name/],
  [`${COUNT}\n  let a = atomicAdd(&n, 1.5);\n}`, 2, 25, /abstract-float/],
  [`${COUNT}\n  let a = atomicAdd(&n, 1u); t = 2u; t = 0.5;\n}`, 2, 42, /abstract-float/],
  [`${COUNT}\n  let a = atomicAdd(&n, 1u, t);\n}`, 2, 11, /'atomicAdd'/],
  [`${HEAD}\n  nowhere();\n}`, 2, 3, /nowhere/],
  ['', 1, 1, /no fn kernel/],
  ['fn kernel(wg: u32) {}', 1, 1, /must be fn kernel/],
  [
    `@group(0) @binding(0) var<storage, read_write> mine: array<u32>;\n${HEAD} }`,
    1,
    48,
    /resource/,
  ],
  [`var<private> vm_arena: u32;\n${HEAD} }`, 1, 14, /belongs to the prelude/],
  [`${HEAD}\n  vm_arena[0] = 1u;\n}`, 2, 3, /belongs to the prelude/],
  [`${HEAD}\n  atomicAdd(&vm_control[0], 1u);\n}`, 2, 14, /belongs to the prelude/],
  [`${HEAD}\n  vm_note(1u);\n}`, 2, 3, /belongs to the prelude/],
  [`@compute @workgroup_size(1) fn mine() {}\n${HEAD} }`, 1, 32, /entry point/],
];

function describeWgsl(open: OpenMachine): void {
  let rig: LaunchRig;
  beforeAll(async () => {
    rig = await openRig(open, 'webgpu', 1);
  });
  afterAll(() => rig.machine.close());

  it.each(REFUSED)(
    'refused, by line, column and reason: %j',
    async (wgsl, line, column, reason) => {
      const error = await rig.device.compileKernel({ wgsl }).then(
        () => null,
        (refusal: unknown) => refusal,
      );
      expect(error).toBeInstanceOf(KernelCompileError);
      const { problems, message } = error as KernelCompileError;
      expect(problems[0]).toMatchObject({ line, column });
      expect(problems[0]!.reason).toMatch(reason);
      expect(message).toContain(`kernel:${line}:${column}:`);
    },
  );

  it('a kernel without end is ended; one beside it finishes', async () => {
    const wgsl = `${HEAD}\n  var x = 0u;\n  while (true) { x += 1u; }\n}`;
    const endless = await rig.device.compileKernel({ wgsl, lanes: 1 });
    const good = await rig.device.compileKernel({ shape: 'swap' });
    const placed = await place(rig, 'swap');
    const [ended, done] = await Promise.all([
      rig.device.launch(endless, { workgroups: 2, budget: 5000 }),
      launchPlaced(rig, good, placed),
    ]);
    expect(ended).toMatchObject({ outcome: 'endless', faults: 0 });
    expect(done.outcome).toBe('done');
    await expectPlaced(rig, placed);
  });

  it('one that faults for ever is ended by its budget, with one page to fault on', async () => {
    const length = 4 * PAGE_SIZE;
    const addr = await rig.process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    const wgsl = `${HEAD}
      var at = 0u;
      loop {
        at = (at + 4096u) % ${length}u;
        if (vm_load(vm_arg(0u) + at) == 7u) { break; }
      }
    }`;
    const kernel = await rig.device.compileKernel({ wgsl, lanes: 1 });
    const report = await rig.device.launch(kernel, { workgroups: 1, args: [addr], budget: 100 });
    expect(report.outcome).toBe('endless');
    expect(report.faults).toBeGreaterThan(50);
    expect(report.pages.evicted).toBeGreaterThan(50);
  });

  it('F11: what was counted before a fault is not counted twice', async () => {
    const length = 8 * PAGE_SIZE;
    const addr = await rig.process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    // Two counters, and a page for each invocation: one device page for all of them.
    const wgsl = `${HEAD}
      let base = vm_arg(0u);
      vm_reduce_add(base, 1u);
      let mine = vm_atomic_add(base + 4u, 1u);
      vm_store(base + 4096u * (1u + lid % 7u) + 4u * mine, lid + 1u);
      vm_reduce_add(base, 1u);
    }`;
    const kernel = await rig.device.compileKernel({ wgsl, lanes: 32 });
    const report = await rig.device.launch(kernel, { workgroups: 2, args: [addr] });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(report.replayed).toBeGreaterThan(2);
    const words = new Uint32Array((await rig.process.read(addr, length)).buffer);
    expect([words[0], words[1]]).toEqual([128, 64]);
    const stored = [...words.subarray(1024)].filter((word) => word !== 0);
    expect(stored.length).toBe(64);
    expect(new Set(stored).size).toBe(32);
  });

  it('F7: a store to a page that may only be read ends its invocation; readers go on', async () => {
    const length = 2 * PAGE_SIZE;
    const addr = await rig.process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    await rig.process.write(addr, new Uint8Array(PAGE_SIZE).fill(1));
    await rig.process.mprotect(addr, PAGE_SIZE, PROT_READ);
    const wgsl = `${HEAD}
      let got = vm_load(vm_arg(0u) + lid * 4u);
      vm_store(vm_arg(0u) + 4096u + lid * 4u, got);
      if (lid % 2u == 1u) { vm_store(vm_arg(0u) + lid * 4u, 7u); }
    }`;
    const kernel = await rig.device.compileKernel({ wgsl, lanes: 64 });
    const report = await rig.device.launch(kernel, { workgroups: 1, args: [addr] });
    expect(report).toMatchObject({ outcome: 'done', killed: 32, finished: 1 });
    expect(report.refusals[0]).toMatchObject({ access: 'write', reason: 'EPERM' });
    const words = new Uint32Array((await rig.process.read(addr, length)).buffer);
    const ones = [...words.subarray(0, 64), ...words.subarray(1024, 1088)];
    expect(new Set(ones)).toEqual(new Set([0x01010101]));
  });
}
