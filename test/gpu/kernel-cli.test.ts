/*
 * What `npm run kernel` runs of a user's own kernel, on Dawn: where its memory is, and what a
 * mistake with addresses looks like.
 */
import { expect, test } from 'vitest';
import { faultsText, reportText, runKernel } from '../../cli/kernel-run.ts';
import type { KernelRunResult } from '../../cli/kernel-run.ts';
import { bootMachine } from '../../src/index.ts';

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
