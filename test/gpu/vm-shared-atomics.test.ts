/*
 * Results of atomics on workgroup memory, in WGSL as users write it: whatever stops, each is given
 * once, and the variables go on from where they were.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { STATE_WORDS } from '../../src/engine/vm/abi.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { kernelOf } from '../../src/engine/vm/ir.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import { openForTest } from '../contract/vm-gpu-harness.ts';
import { runAgainst } from '../vm/adversary.ts';
import { compileCase } from '../vm/exactly-once.ts';

const BASE = 0x4000_0000 - 4096;
const LANES = 16;
const GROUPS = 3;
const TOTAL = LANES * GROUPS;

/** Room for all logs of four words, and for that of one workgroup once they have eight. */
const TIGHT = { logWords: 4, memoBytes: 4 * GROUPS * (1 + 5 + LANES * (STATE_WORDS + 4)) };

/** A case of a text; arguments: words to load, one page; words to store, one page each. */
function caseOf(wgsl: string, arrays: number): VmCase {
  const to = new CaseBuilder(BASE, 1);
  to.array(TOTAL, (i) => i * 3 + 1);
  for (let index = 1; index < arrays; index++) to.array(1024);
  const one = to.build('mine', kernelOf('mine', LANES, []), GROUPS);
  return { ...one, kernel: { name: 'mine', lanes: LANES, wgsl } };
}

/** Memory with these words in the arrays behind the first. */
function memoryOf(one: VmCase, arrays: readonly (readonly number[])[]): Uint8Array {
  const words = new Uint32Array(one.bytes.slice().buffer);
  for (const [index, array] of arrays.entries()) words.set(array, (index + 1) * 1024);
  return new Uint8Array(words.buffer);
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const filled = (value: (i: number) => number): number[] => range(TOTAL).map(value);

describe('results of atomics on workgroup memory', () => {
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

  /** Runs a text under hard hosts, with logs of its own length and of four words. */
  async function expectOnce(one: VmCase, wanted: Uint8Array, attempt: string): Promise<void> {
    let shrunk = 0;
    for (const options of [{}, { logWords: 4 }, { alwaysLog: true }, TIGHT]) {
      const program = await compileCase(engine, one, options);
      if (!('alwaysLog' in options)) expect(program.firstAttempt).toBe(attempt);
      for (let at = 0; at < 10; at++) {
        const result = await runAgainst(new Prng(at), engine, program, one, wanted, at);
        expect(result.problem, `${JSON.stringify(options)}, position ${at}`).toBe('');
        shrunk += Number(result.shrunk);
      }
    }
    expect(shrunk).toBeGreaterThan(0);
  }

  it(
    'tickets: each place is taken once, with operations before and behind',
    { timeout: 120_000 },
    async () => {
      // Loads and stores around the draw; each invocation counts what was drawn, the last one all.
      const one = caseOf(
        `
var<workgroup> next: atomic<u32>;
var<workgroup> ended: array<atomic<u32>, 2>;
fn kernel(wg: u32, lid: u32) {
  let gid = wg * 16u + lid;
  let x = vm_load(vm_arg(0u) + gid * 4u);
  let place = atomicAdd(&next, 1u);
  vm_reduce_add(vm_arg(1u) + (wg * 16u + place) * 4u, 1u);
  let y = vm_load(vm_arg(2u) + gid * 4u);
  if (atomicAdd(&ended[1], 1u) == 15u) {
    vm_reduce_add(vm_arg(3u) + wg * 4u, atomicLoad(&next));
  }
  vm_store(vm_arg(2u) + gid * 4u, x + y);
}`,
        4,
      );
      const memory = memoryOf(one, [filled(() => 1), filled((i) => i * 3 + 1), [16, 16, 16]]);
      await expectOnce(one, memory, 'log');
    },
  );

  it('a list in workgroup memory, kept back to the end', async () => {
    const one = caseOf(
      `
const N = 16u;
var<workgroup> count: atomic<u32>;
var<workgroup> list: array<u32, N>;
fn kernel(wg: u32, lid: u32) {
  let gid = wg * 16u + lid;
  let x = vm_load(vm_arg(0u) + gid * 4u);
  if (x % 2u == 1u) { list[atomicAdd(&count, 1u)] = x; }
  if (!vm_barrier()) { return; }
  var sum = 0u;
  for (var i = 0u; i < atomicLoad(&count); i++) { sum += list[i]; }
  vm_store(vm_arg(1u) + gid * 4u, sum);
}`,
      2,
    );
    const sums = filled((gid) => {
      const mine = range(LANES).map((lane) => (gid - (gid % LANES) + lane) * 3 + 1);
      return mine.filter((x) => x % 2 === 1).reduce((a, b) => a + b, 0);
    });
    await expectOnce(one, memoryOf(one, [sums]), 'defer');
  });

  it('all operations, signed ones too, and names that its own functions use', async () => {
    const one = caseOf(
      `
var<workgroup> i: array<atomic<i32>, 0x4>;
var<workgroup> value: atomic<u32>;
fn kernel(wg: u32, lid: u32) {
  let gid = wg * 16u + lid;
  let x = vm_load(vm_arg(0u) + gid * 4u);
  let mine = atomicSub(&i[lid & 1u], i32(x));
  if (!vm_barrier()) { return; }
  let sum = atomicLoad(&i[0]) + atomicLoad(&i[1]);
  vm_reduce_add(vm_arg(1u) + gid * 4u, bitcast<u32>(sum));
  _ = atomicMin(&i[2], -i32(lid));
  _ = atomicMax(&i[3], i32(lid));
  let y = vm_load(vm_arg(1u) + gid * 4u);
  var won = 0u;
  let swap = atomicCompareExchangeWeak(&value, 0u, lid + 1u);
  if (swap.exchanged) { won = 1u; }
  if (!vm_barrier()) { return; }
  let drawn = atomicExchange(&value, 99u);
  vm_reduce_add(vm_arg(2u) + wg * 4u, won + select(0u, 100u, drawn != 99u));
  if (!vm_barrier()) { return; }
  atomicOr(&value, 1u);
  atomicAnd(&value, 0u);
  atomicXor(&value, 2u);
  atomicStore(&value, 5u);
  if (!vm_barrier()) { return; }
  let ends = bitcast<u32>(atomicLoad(&i[2]) + 100 * atomicLoad(&i[3]));
  vm_store(vm_arg(3u) + gid * 4u, ends + atomicLoad(&value) + y * 0u);
}`,
      4,
    );
    const sums = filled((gid) => {
      const mine = range(LANES).map((lane) => (gid - (gid % LANES) + lane) * 3 + 1);
      return -mine.reduce((a, b) => a + b, 0) >>> 0;
    });
    const ends = filled(() => -15 + 1500 + 5);
    await expectOnce(one, memoryOf(one, [sums, [101, 101, 101], ends]), 'log');
  });
});
