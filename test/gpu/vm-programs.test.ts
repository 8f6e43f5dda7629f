/*
 * What only the WebGPU engine does with kernels over virtual memory: user-written WGSL, compiler
 * errors at the user's lines, large dispatches, several contexts, a lost device.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { PTE_ALL } from '../../src/engine/vm/abi.ts';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import type { LaunchReport, LaunchRequest } from '../../src/engine/vm/launch.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import { shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmProgram, VmProgramOptions, VmRefusal } from '../../src/engine/vm/vm-engine.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import { openForTest } from '../contract/vm-gpu-harness.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x2000_0000;

describe('programs on WebGPU', () => {
  let device: GPUDevice;
  let engine: GpuVmEngine;
  beforeAll(async () => {
    ({ device } = await openForTest());
    engine = new GpuVmEngine(device, 512);
  });
  afterAll(() => {
    engine.destroy();
    device.destroy();
  });

  async function compile(
    wgsl: string,
    options: Partial<VmProgramOptions> = {},
    lanes = 64,
  ): Promise<VmProgram | VmRefusal> {
    return engine.compile({ name: 'mine', lanes, wgsl }, { slots: 8, ...options });
  }

  async function program(
    wgsl: string,
    options: Partial<VmProgramOptions> = {},
    lanes = 64,
  ): Promise<VmProgram> {
    const made = await compile(wgsl, options, lanes);
    if ('problems' in made) throw new Error(JSON.stringify(made.problems));
    return made;
  }

  /** Runs a kernel on words at BASE with so many frames; answers its report and the words after. */
  async function run(
    made: VmProgram,
    words: Uint32Array,
    request: Partial<LaunchRequest> & { workgroups: number },
    frames = 2,
  ): Promise<{ report: LaunchReport; words: Uint32Array }> {
    const space = new DeviceSpace(1);
    const bytes = new Uint8Array(words.slice().buffer);
    const numbers = Array.from({ length: frames }, (_, frame) => frame);
    const pager = new BackingPager(engine, space, bytes, BASE, numbers);
    const report = await launchKernel(made, {
      space,
      args: [BASE],
      pager: (batch) => pager.serve(batch),
      ...request,
    });
    await pager.collect();
    engine.drop(space);
    return { report, words: new Uint32Array(bytes.buffer) };
  }

  it('a compiler error names the line of the kernel', async () => {
    const wgsl = 'fn kernel(wg: u32, lid: u32) {\n  let a = 1u;\n  let b: f32 = a;\n}';
    const refusal = (await compile(wgsl)) as VmRefusal;
    expect(refusal.errno).toBe(errno.EINVAL);
    expect(refusal.problems[0]!.line).toBe(3);
    expect(refusal.problems[0]!.reason).toContain('f32');
  });

  it('whatever ends its lines', async () => {
    for (const end of ['\r\n', '\r', '\u2028']) {
      const lines = ['fn kernel(wg: u32, lid: u32) {', '  // one', '  let b: f32 = 1u;', '}'];
      const refusal = (await compile(lines.join(end))) as VmRefusal;
      expect(refusal.problems, JSON.stringify(end)).toHaveLength(1);
      expect(refusal.problems[0]).toMatchObject({ line: 3, column: 7 });
      const hidden = (await compile(lines.with(2, '  vm_arena[0] = 1u;').join(end))) as VmRefusal;
      expect(hidden.problems[0]!.reason).toContain('vm_arena belongs to the prelude');
    }
  });

  it('all of a case is done exactly once, also its third statement', async () => {
    const made = await program(`
fn kernel(wg: u32, lid: u32) {
  switch lid & 1u {
    case 1u: {
      let a = 1u;
      let b = a + 1u;
      vm_reduce_add(vm_arg(0u), 1u);
      let c = vm_load(vm_arg(0u) + 4096u);
      vm_store(vm_arg(0u) + 8192u + (wg * 64u + lid) * 4u, c + b);
    }
    default: {}
  }
}`);
    expect(made.firstAttempt).toBe('log');
    const { report, words } = await run(made, new Uint32Array(3 * 1024), { workgroups: 4 }, 1);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect([words[0], words[2 * 1024], words[2 * 1024 + 1]]).toEqual([128, 0, 2]);
  });

  it('so does a barrier that not all reach, and a call to what is not there', async () => {
    const wgsl =
      'fn kernel(wg: u32, lid: u32) {\n  if (lid > 3u) {\n' +
      '    if (!vm_barrier()) { return; }\n  }\n}';
    expect(((await compile(wgsl)) as VmRefusal).problems[0]!.line).toBe(3);
    const absent = 'fn kernel(wg: u32, lid: u32) {\n\n  nothing();\n}';
    expect(((await compile(absent)) as VmRefusal).problems[0]!.line).toBe(3);
  });

  it('what the check refuses never reaches the compiler', async () => {
    const wgsl = `@group(0) @binding(0) var<storage, read_write> mine: array<u32>;
fn kernel(wg: u32, lid: u32) { mine[lid] = 1u; }`;
    const refusal = (await compile(wgsl)) as VmRefusal;
    expect(refusal.problems).toEqual([
      {
        line: 1,
        column: 48,
        reason: 'mine is a resource; memory is reached by vm_load and vm_store only',
      },
    ]);
  });

  it('refuses workgroups that the device does not have', async () => {
    const wgsl = 'fn kernel(wg: u32, lid: u32) { vm_store(vm_arg(0u), lid); }';
    for (const lanes of [0, 100_000, 1.5]) {
      expect((await compile(wgsl, {}, lanes)) as VmRefusal).toMatchObject({ errno: errno.EINVAL });
    }
  });

  it('helpers, structures, switches and uniform values from memory work', async () => {
    const made = await program(`
struct Pair { a: u32, b: u32 }
var<workgroup> sums: array<atomic<u32>, 2>;
fn pair(at: u32) -> Pair { return Pair(vm_load(at), vm_load(at + 4u)); }
fn kernel(wg: u32, lid: u32) {
  let rounds = vm_uniform(vm_load(vm_arg(0u)));
  if (!vm_barrier()) { return; }
  for (var i = 0u; i < rounds; i++) {
    let both = pair(vm_arg(0u) + 4096u + (lid * 2u) * 4u);
    atomicAdd(&sums[i & 1u], both.a + both.b);
    if (!vm_barrier()) { return; }
  }
  switch (lid) {
    case 0u, 1u: { vm_store(vm_arg(0u) + 8192u + (wg * 2u + lid) * 4u, atomicLoad(&sums[lid])); }
    default: {}
  }
}`);
    const words = new Uint32Array(3 * 1024);
    words[0] = 3;
    for (let i = 0; i < 128; i++) words[1024 + i] = i;
    const { report, words: after } = await run(made, words, { workgroups: 2 }, 1);
    expect(report.outcome).toBe('done');
    const sum = (127 * 128) / 2;
    expect([...after.subarray(2048, 2053)]).toEqual([sum * 2, sum, sum * 2, sum, 0]);
  });

  it('more workgroups than one dimension of a dispatch has', async () => {
    const wgsl = `fn kernel(wg: u32, lid: u32) {
  let at = vm_arg(0u) + wg * 4u;
  vm_store(at, vm_load(at) + wg);
}`;
    const workgroups = 66_000;
    const made = await program(wgsl, { slots: workgroups }, 1);
    expect(made.slots).toBe(workgroups);
    const words = new Uint32Array(65 * 1024).fill(7);
    const { report, words: after } = await run(made, words, { workgroups }, 80);
    expect(report).toMatchObject({ outcome: 'done', finished: workgroups, passes: 3 });
    const wrong = after.findIndex((word, i) => word !== 7 + (i < workgroups ? i : 0));
    expect(wrong).toBe(-1);
  });

  it('contexts see their own pages; an endless kernel ends its context alone', async () => {
    const endless = await program(
      'fn kernel(wg: u32, lid: u32) { loop { if (wg > 9u) { break; } } }',
    );
    const one = shapeCase('swap', 4, BASE, 1);
    const other = await program(one.kernel.wgsl);
    const spaces = [new DeviceSpace(1), new DeviceSpace(2)] as const;
    const bytes = one.bytes.slice();
    const pager = new BackingPager(engine, spaces[1], bytes, BASE, [5, 6]);
    const nothing = (): void => {};
    const [lost, done] = await Promise.all([
      launchKernel(endless, { space: spaces[0], workgroups: 2, pager: nothing, budget: 5000 }),
      launchKernel(other, {
        space: spaces[1],
        workgroups: one.workgroups,
        args: one.args,
        pager: (batch) => pager.serve(batch),
      }),
    ]);
    expect([lost.outcome, done.outcome]).toEqual(['endless', 'done']);
    await pager.collect();
    expectMemory(one, bytes, oracleOf(one));

    // The first context maps nothing: the same addresses are no addresses for it.
    const stranger = await launchKernel(other, {
      space: spaces[0],
      workgroups: 1,
      args: one.args,
      pager: () => false,
    });
    expect(stranger).toMatchObject({ outcome: 'cancelled', faults: 1 });
  });

  it('a stopped invocation learns nothing of a page that it may not read', async () => {
    const wgsl = `var<workgroup> tile: array<u32, 64>;
fn kernel(wg: u32, lid: u32) {
  let secret = vm_load(0x70000000u);
  if (lid > 0u) { vm_store(vm_arg(0u) + lid * 4u, secret); }
  if (lid == 0u) { vm_store(vm_arg(0u), 9u); }
}`;
    engine.writeFrame(0, new Uint8Array(4096).fill(0xaa));
    const made = await program(wgsl);
    const { report, words } = await run(made, new Uint32Array(1024), { workgroups: 1 });
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
    expect(words.every((word) => word === 0)).toBe(true);
  });

  it('a lost device ends a launch as failed, and later ones too', async () => {
    const opened = await openForTest();
    const own = new GpuVmEngine(opened.device, 16);
    const one = shapeCase('chase', 1, BASE, 1);
    const made = (await own.compile(one.kernel, { slots: 1 })) as VmProgram;
    const space = new DeviceSpace(1);
    space.mapPage(BASE, 0, PTE_ALL);
    const pager = async (): Promise<void> => {
      opened.device.destroy();
      await opened.device.lost;
    };
    const request = { space, workgroups: 1, args: one.args, pager };
    const report = await launchKernel(made, request);
    expect(report).toMatchObject({ outcome: 'failed', errno: errno.ENODEV, passes: 1 });
    expect((await launchKernel(made, request)).outcome).toBe('failed');
    expect(await own.compile(one.kernel, { slots: 1 })).toMatchObject({ errno: errno.ENODEV });
  });
});
