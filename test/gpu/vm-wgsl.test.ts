/*
 * Good WGSL in forms that few write: the check of kernels takes it, the compiler takes it together
 * with the prelude, and it does what it says.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { VmRefusal } from '../../src/engine/vm/vm-engine.ts';
import { checkKernel, isRefused } from '../../src/gpu/vm/check-kernel.ts';
import { variantsOf } from '../../src/gpu/vm/gpu-program.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import { layoutOf, vmSource } from '../../src/gpu/vm/vm-source.ts';
import { openForTest } from '../contract/vm-gpu-harness.ts';
import { FORMS, KERNEL_NAMES, kernelWith, namesKernel } from '../vm/wgsl-forms.ts';

const BASE = 0x2000_0000;

describe('WGSL that few write', () => {
  let device: GPUDevice;
  beforeAll(async () => {
    ({ device } = await openForTest());
  });
  afterAll(() => device.destroy());

  /** What the compiler says against a kernel with its prelude. */
  async function errorsOf(text: string): Promise<string[]> {
    const checked = checkKernel(text);
    if (isRefused(checked)) return checked.map(({ reason }) => reason);
    const layout = layoutOf(64, 8, 64, checked.order.checks, checked.shared?.words ?? 0);
    const { code } = vmSource(checked, layout, variantsOf(checked, { slots: 8 }).again);
    device.pushErrorScope('validation');
    const info = await device.createShaderModule({ code }).getCompilationInfo();
    await device.popErrorScope();
    return info.messages.filter(({ type }) => type === 'error').map(({ message }) => message);
  }

  it('forms', async () => {
    for (const { name, body, before } of FORMS) {
      expect(await errorsOf(kernelWith(body, before)), name).toEqual([]);
    }
  });

  it('names in functions that are builtins, types or words elsewhere', async () => {
    expect(await errorsOf(namesKernel(KERNEL_NAMES))).toEqual([]);
  });

  it('the same at module scope', async () => {
    const own = KERNEL_NAMES.map((name) => `fn ${name}(x: u32) -> u32 { return x; }`).join('\n');
    const calls = KERNEL_NAMES.map((name) => `vm_store(0u, ${name}(lid));`).join('\n');
    expect(await errorsOf(kernelWith(calls, own))).toEqual([]);
    const constants = KERNEL_NAMES.map((name, at) => `const ${name} = ${at}u;`).join('\n');
    expect(
      await errorsOf(kernelWith(`vm_store(0u, ${KERNEL_NAMES.join('+')});`, constants)),
    ).toEqual([]);
  });

  it('and what is no WGSL is not taken', async () => {
    expect(await errorsOf(kernelWith('let read = 1u; let b: f32 = read;'))).toHaveLength(1);
    expect(await errorsOf(kernelWith('_ = max(1u, 2u);', 'fn max() {}'))).toHaveLength(1);
  });

  it('a kernel whose names are those of the prelude does what it says', async () => {
    const engine = new GpuVmEngine(device, 64);
    const wgsl = `
var<workgroup> select: array<atomic<u32>, 4>;
const read = 3u;
fn max(a: u32, b: u32) -> u32 { return a * 10u + b; }
fn bitcast(storage: u32) -> u32 { const_assert read == 3; return storage-1u; }

fn kernel(wg: u32, lid: u32) {
  let u32 = atomicAdd(&select[lid & 3u], 1u);
  if (!vm_barrier()) { return; }
  let workgroup = atomicLoad(&select[lid >> 4]);
  vm_store(vm_arg(0u) + lid * 4u, max(workgroup, read) + bitcast(lid));
  vm_reduce_add(vm_arg(0u) + 4096u, u32);
}`;
    const made = await engine.compile({ name: 'names', lanes: 64, wgsl }, { slots: 2 });
    if ('problems' in made) throw new Error(JSON.stringify(made.problems));
    const space = new DeviceSpace(1);
    const bytes = new Uint8Array(8192);
    const pager = new BackingPager(engine, space, bytes, BASE, [0, 1]);
    const serve: typeof pager.serve = (batch) => pager.serve(batch);
    const report = await launchKernel(made, { space, args: [BASE], pager: serve, workgroups: 1 });
    await pager.collect();
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const words = new Uint32Array(bytes.buffer);
    const wanted = Array.from({ length: 64 }, (_, lid) => 160 + 3 + lid - 1);
    expect([...words.subarray(0, 64)]).toEqual(wanted);
    // Four counters, each drawn from 0 to 15.
    expect(words[1024]).toBe(4 * 120);
    engine.destroy();
  });

  it('a compiler error has the names and the columns of the text', async () => {
    const engine = new GpuVmEngine(device, 64);
    const wgsl = 'fn max() {}\nfn kernel(wg: u32, lid: u32) {\n  let a = 1u + max();\n}';
    const refusal = await engine.compile({ name: 'names', lanes: 64, wgsl }, { slots: 2 });
    const [problem] = (refusal as VmRefusal).problems;
    expect(problem).toMatchObject({ line: 3 });
    expect(problem!.reason).not.toContain('own');
    expect(wgsl.split('\n')[2]!.slice(problem!.column - 1)).toMatch(/^(\+|max|1u)/);
    engine.destroy();
  });
});
