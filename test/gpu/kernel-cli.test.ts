/*
 * What `npm run kernel` runs of a user's own kernel, on Dawn: where its memory is, and what a
 * mistake with addresses looks like.
 */
import { describe, expect, test } from 'vitest';
import { recordRun } from '../../cli/kernel-record.ts';
import { faultsText, reportText, runKernel } from '../../cli/kernel-run.ts';
import type { KernelRunOptions, KernelRunResult } from '../../cli/kernel-run.ts';
import { bootMachine, plainRegion, shapeCase, traceToCsv } from '../../src/index.ts';
import type { AccessTrace, Machine, MachineOptions, VmCase } from '../../src/index.ts';
import { traceOfCase } from '../contract/trace-equality.ts';
import { wideCase } from '../vm/wide-kernels.ts';

async function run(body: string): Promise<KernelRunResult> {
  await using machine = await bootMachine({ engine: 'webgpu', ramBytes: 8 << 20 });
  return await runKernel(machine, {
    source: { wgsl: `fn kernel(wg: u32, lid: u32) {\n${body}\n}`, lanes: 1 },
    pages: 2,
    fill: 'index',
    args: [7],
    launch: { workgroups: 1 },
  });
}

test('the memory is at vm_arg(0u), its words are vm_arg(1u), other arguments follow', async () => {
  const result = await run(
    'vm_store(vm_arg(0u), vm_arg(1u)); vm_store(vm_arg(0u) + 4096u, vm_arg(2u));',
  );
  expect(result.report).toMatchObject({ outcome: 'done', killed: 0 });
  expect([result.words[0], result.words[1024]]).toEqual([2048, 7]);
  expect(reportText(result)).toContain('memory       2 pages from 0x200000 to 0x202000\n');
  expect(faultsText(result, 8)).not.toContain('refused');
});

test('a store to address 0, as without vm_arg(0u), is refused at that address', async () => {
  const result = await run('vm_store(0u, 1u);');
  expect(result.report).toMatchObject({ outcome: 'done', killed: 1 });
  expect(reportText(result)).toContain('1 invocation, by refused accesses\n');
  expect(faultsText(result, 8)).toMatch(/refused +access.*\n +0x0 +write +EFAULT/);
});

describe('what a kernel touches', () => {
  const open = (sizes: MachineOptions): Promise<Machine> =>
    bootMachine({ engine: 'webgpu', ...sizes });

  function fileRun(wgsl: string, over: Partial<KernelRunOptions> = {}): KernelRunOptions {
    return {
      source: { wgsl, lanes: 4, name: 'mine.wgsl' },
      pages: 3,
      fill: 'index',
      args: [],
      launch: { workgroups: 2 },
      ...over,
    };
  }

  const linesOf = (trace: AccessTrace | string): string[] => {
    if (typeof trace === 'string') throw new Error(trace);
    return traceToCsv(trace).trimEnd().split('\n').slice(3);
  };

  test('it writes down itself, in its order', async () => {
    const wgsl = `fn kernel(wg: u32, lid: u32) {
  if (lid > 1u) { return; }
  // Where it goes hangs on what its memory and its arguments hold.
  let there = vm_load(vm_arg(0u) + 4096u * (wg + 1u)) / 1024u;
  vm_store(vm_arg(0u) + vm_arg(2u) + lid * 8u, there);
  vm_reduce_add(vm_arg(0u) + there * 4096u, 1u);
}`;
    const trace = await recordRun(open, fileRun(wgsl, { args: [64] }), { killed: 0 });
    expect(linesOf(trace)).toEqual(
      [0, 1].flatMap((wg) =>
        [0, 1].flatMap((lane) => [
          `${wg},${lane},${wg + 1},R`,
          `${wg},${lane},0,W`,
          `${wg},${lane},${wg + 1},A`,
        ]),
      ),
    );
  });

  test('is as long as there is room for', async () => {
    const wgsl = `fn kernel(wg: u32, lid: u32) {
  if (lid + wg > 0u) { return; }
  for (var i = 0u; i < 300u; i++) { vm_store(vm_arg(0u) + (i % 3u) * 4096u, i); }
}`;
    const lines = linesOf(await recordRun(open, fileRun(wgsl), { killed: 0 }));
    expect(lines).toEqual(Array.from({ length: 300 }, (_, i) => `0,0,${i % 3},W`));
    const many = fileRun(wgsl, { launch: { workgroups: 2 ** 20 } });
    expect(await recordRun(open, many, { killed: 0 })).toMatch(/^4194304 invocations are too many/);
  });

  test('is not told where it is not what the run did', async () => {
    const beyond = 'fn kernel(wg: u32, lid: u32) { _ = vm_load(vm_arg(0u) + vm_arg(1u) * 4u); }';
    expect(await recordRun(open, fileRun(beyond), { killed: 8 })).toMatchObject({ workgroups: 2 });
    expect(await recordRun(open, fileRun(beyond), { killed: 0 })).toMatch(/^8 invocations had an/);
    const wrong = 'fn kernel(wg: u32, lid: u32) {\n  workgroupBarrier();\n}';
    expect(await recordRun(open, fileRun(wrong), { killed: 0 })).toMatch(/^line 2: workgroupBarr/);
    const endless = fileRun('fn kernel(wg: u32, lid: u32) { loop { } }');
    expect(await recordRun(open, endless, { killed: 0 })).toContain('ended as endless');
  });

  /** The lines that a case's kernel writes down on the GPU. */
  async function writtenBy({ kernel, bytes, args, workgroups }: VmCase): Promise<string[]> {
    const { wgsl, lanes } = kernel;
    const launch = { workgroups };
    // Its arrays begin where its memory does, and its arguments with the address of the first.
    expect(args[0]).toBe(0);
    const moved = wgsl.replaceAll(/vm_arg\((\d+)u\)/g, (_, i) => `vm_arg(${Number(i) + 2}u)`);
    const based = args.map((one) => (one < bytes.length && one % 4096 === 0 ? one + 2 ** 21 : one));
    const pages = bytes.length / 4096;
    const file = fileRun(moved, { source: { wgsl: moved, lanes }, launch, pages, args: based });
    return linesOf(await recordRun(open, file, { killed: 0 }));
  }

  test('is the same whether the CPU engine sees it or the GPU writes it down', async () => {
    for (const name of ['elementwise', 'reduction', 'exchange']) {
      const shape = fileRun('', { source: { shape: name }, launch: { workgroups: 4 } });
      const seen = linesOf(await recordRun(open, shape, { killed: 0 }));
      const written = await writtenBy(shapeCase(name, 4, 0, 1));
      expect(written.length).toBeGreaterThan(4);
      expect(written, name).toEqual(seen);
    }
  });

  test.for(['stages', 'cyclic', 'meet', 'drawn'])(
    'also of a kernel of many pages: %s',
    async (name) => {
      const one = wideCase(name, 64, 0);
      const pages = one.bytes.length / 4096;
      const seen = linesOf(await traceOfCase(one, [plainRegion(0, pages)], 1));
      const written = await writtenBy(one);
      expect(written.length).toBeGreaterThan(64);
      expect(written).toEqual(seen);
    },
  );

  test('has a meeting where the workgroup is shown a value', async () => {
    const wgsl = `fn kernel(wg: u32, lid: u32) {
  let n = vm_uniform(vm_load(vm_arg(0u) + lid * 2048u));
  vm_store(vm_arg(0u), n);
}`;
    const source = { wgsl, lanes: 2 };
    const lines = linesOf(await recordRun(open, fileRun(wgsl, { source }), { killed: 0 }));
    const each = [0, 1].flatMap((wg) =>
      [0, 1].flatMap((lid) => [`${wg},${lid},0,R`, `${wg},${lid},0,B`, `${wg},${lid},0,W`]),
    );
    expect(lines).toEqual(each);
  });
});
