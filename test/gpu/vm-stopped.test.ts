/*
 * What an invocation that has stopped must not do to the others of its workgroup, which go on until
 * the next barrier: it computes with zeros.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import { openForTest } from '../contract/vm-gpu-harness.ts';

const BASE = 0x2000_0000;
const LANES = 64;
const PAGE_WORDS = 1024;

describe('an invocation that has stopped', () => {
  let device: GPUDevice;
  let engine: GpuVmEngine;
  beforeAll(async () => {
    ({ device } = await openForTest());
    engine = new GpuVmEngine(device, 8);
  });
  afterAll(() => {
    engine.destroy();
    device.destroy();
  });

  /** Runs two workgroups of a kernel that logs on so many frames; answers memory as words. */
  async function run(wgsl: string, words: Uint32Array, frames: number): Promise<Uint32Array> {
    const kernel = { name: 'mine', lanes: LANES, wgsl };
    const made = await engine.compile(kernel, { slots: 8, hash: true });
    if ('problems' in made) throw new Error(JSON.stringify(made.problems));
    expect(made.firstAttempt).toBe('log');
    const space = new DeviceSpace(1);
    const bytes = new Uint8Array(words.slice().buffer);
    const numbers = Array.from({ length: frames }, (_, frame) => frame);
    const pager = new BackingPager(engine, space, bytes, BASE, numbers);
    const report = await launchKernel(made, {
      space,
      args: [BASE],
      workgroups: 2,
      pager: (batch) => pager.serve(batch),
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    await pager.collect();
    engine.drop(space);
    return new Uint32Array(bytes.buffer);
  }

  it('gives no value to others by vm_uniform', async () => {
    // The first invocation's word is in another page than those of the others.
    const wgsl = `
fn kernel(wg: u32, lid: u32) {
  // All pages but that of the first invocation's word are there when it is asked for.
  vm_reduce_add(vm_arg(0u), 0u);
  vm_reduce_add(vm_arg(0u) + 8192u, 0u);
  vm_reduce_add(vm_arg(0u) + 12288u, 0u);
  let at = select(vm_arg(0u), vm_arg(0u) + 4096u, lid == 0u);
  let n = vm_uniform(vm_load(at));
  let mine = (wg * 64u + lid) * 4u;
  vm_reduce_add(vm_arg(0u) + 8192u + mine, n);
  let seen = vm_load(vm_arg(0u) + 12288u + mine);
  vm_store(vm_arg(0u) + 12288u + mine, seen + n);
}`;
    for (const frames of [1, 2, 4]) {
      const words = new Uint32Array(4 * PAGE_WORDS);
      words.set([5], 0);
      words.set([7], PAGE_WORDS);
      const after = await run(wgsl, words, frames);
      for (const page of [2, 3]) {
        const got = [...after.subarray(page * PAGE_WORDS, page * PAGE_WORDS + 2 * LANES)];
        expect(got, `${frames} frames`).toEqual(Array.from({ length: 2 * LANES }, () => 7));
      }
    }
  });

  it.each([
    'let place = vm_load(list + lid * 4u);\n  places[place] = lid + 1u;',
    'places[vm_load(list + lid * 4u)] = lid + 1u;\n  let place = vm_load(list + lid * 4u);',
    'let place = vm_load(list + lid * 4u);\n  put(&places, place, lid + 1u);',
  ])('writes nothing that others have in workgroup memory: %s', async (put) => {
    // Invocation i takes place i ^ 1 of the workgroup's; whoever stopped would take place 0.
    const wgsl = `
var<workgroup> places: array<u32, 64>;
fn put(to: ptr<workgroup, array<u32, 64>>, place: u32, value: u32) { (*to)[place] = value; }
fn kernel(wg: u32, lid: u32) {
  let mine = (wg * 64u + lid) * 4u;
  vm_reduce_add(vm_arg(0u), 0u);
  vm_reduce_add(vm_arg(0u) + 8192u, 0u);
  vm_reduce_add(vm_arg(0u) + 12288u, 0u);
  let list = select(vm_arg(0u), vm_arg(0u) + 4096u, lid > 1u);
  ${put}
  places[place] += 100u;
  vm_reduce_add(vm_arg(0u) + 8192u + mine, places[place]);
  let seen = vm_load(vm_arg(0u) + 12288u + mine);
  vm_store(vm_arg(0u) + 12288u + mine, seen + places[place]);
  if (!vm_barrier()) { return; }
}`;
    for (const frames of [1, 2, 4]) {
      const words = new Uint32Array(4 * PAGE_WORDS);
      for (let lane = 0; lane < LANES; lane++) {
        words[lane] = lane ^ 1;
        words[PAGE_WORDS + lane] = lane ^ 1;
      }
      const after = await run(wgsl, words, frames);
      const wanted = Array.from({ length: 2 * LANES }, (_, i) => (i % LANES) + 101);
      for (const page of [2, 3]) {
        const got = [...after.subarray(page * PAGE_WORDS, page * PAGE_WORDS + 2 * LANES)];
        expect(got, `${frames} frames, page ${page}`).toEqual(wanted);
      }
    }
  });

  it.each([
    [
      'vm_uniform alone in a loop',
      `var n = 0u;
  loop { n = vm_uniform(vm_load(far)); if (n == 7u) { break; } }
  vm_store(mine, n);`,
    ],
    [
      'a barrier that a round may pass by',
      `var k = 0u;
  loop {
    k = vm_uniform(vm_load(far + 4u * (k & 1u)));
    if (k == 7u) { total = k; if (!vm_barrier()) { return; } vm_reduce_add(mine, total); continue; }
    if (k == 8u) { break; }
  }
  vm_reduce_sub(mine, vm_load(mine + 8192u) + lid + wg * 64u);`,
    ],
    [
      'vm_uniform at the head of a loop',
      `var n = 3u;
  while (vm_uniform(n + vm_load(far)) > 7u) { n -= 1u; vm_reduce_add(mine, 2u); }
  vm_reduce_add(mine, 1u - lid - wg * 64u);`,
    ],
    [
      'vm_uniform for workgroup memory',
      `total = vm_uniform(vm_load(far));
  if (!vm_barrier()) { return; }
  vm_store(mine, total);`,
    ],
    [
      'a search that ends by return',
      `let n = search(far, 7u + lid % 1u);
  vm_store(mine, n + 7u);`,
    ],
  ])('leaves: %s', async (_name, body) => {
    const wgsl = `
var<workgroup> total: u32;
fn search(at: u32, value: u32) -> u32 {
  var k = 0u;
  loop { if (vm_load(at + k * 4u) == value) { return k; } k++; }
}
fn kernel(wg: u32, lid: u32) {
  let mine = vm_arg(0u) + (wg * 64u + lid) * 4u;
  let far = vm_arg(0u) + 4096u;
  vm_reduce_add(mine + 8192u, 0u);
  _ = vm_load(mine);
  ${body}
}`;
    for (const frames of [1, 2, 4]) {
      const words = new Uint32Array(4 * PAGE_WORDS);
      for (let i = 0; i < 2 * LANES; i++) words[i] = i;
      words.set([7, 8], PAGE_WORDS);
      const after = await run(wgsl, words, frames);
      const got = [...after.subarray(0, 2 * LANES)];
      expect(got, `${frames} frames`).toEqual(Array.from({ length: 2 * LANES }, () => 7));
    }
  });

  it.each(['_ = vm_uniform(0u);', 'if (vm_arg(1u) == 1u) { if (!vm_barrier()) { return; } }'])(
    'ends a loop without end: %s',
    async (round) => {
      const wgsl = `fn kernel(wg: u32, lid: u32) { loop { ${round} } }`;
      const made = await engine.compile({ name: 'mine', lanes: LANES, wgsl }, { slots: 8 });
      if ('problems' in made) throw new Error(JSON.stringify(made.problems));
      const space = new DeviceSpace(1);
      const pager = (): boolean => true;
      const request = { space, args: [BASE], workgroups: 2, budget: 100, pager };
      expect(await launchKernel(made, request)).toMatchObject({ outcome: 'endless' });
      engine.drop(space);
    },
  );
});
