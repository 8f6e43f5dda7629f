/*
 * What a user's kernel may not do, each with its line, and how the order of its operations decides
 * the first attempt.
 */
import { describe, expect, it } from 'vitest';
import { printVmKernel } from '../../../src/engine/vm/print-wgsl.ts';
import { SHAPE_KERNELS } from '../../../src/engine/vm/shape-kernels.ts';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import type { EffectOrder } from '../../../src/gpu/vm/effect-order.ts';

/** The problems of a kernel as "line: reason". */
function problemsOf(text: string): string[] {
  const answer = checkKernel(text);
  return isRefused(answer) ? answer.map(({ line, reason }) => `${line}: ${reason}`) : [];
}

/** A kernel with this body, its first line being line 2. */
function withBody(body: string): string {
  return `fn kernel(wg: u32, lid: u32) {\n${body}\n}`;
}

function orderOf(text: string): EffectOrder {
  const answer = checkKernel(text);
  if (isRefused(answer)) throw new Error(answer[0]!.reason);
  return answer.order;
}

describe('refusals', () => {
  it('a kernel with functions, constants, structures and workgroup memory passes', () => {
    const text = [
      'const N = 4u;',
      'struct Pair { a: u32, b: u32 }',
      'alias Word = u32;',
      'var<workgroup> tile: array<u32, 64>;',
      'var<private> mine: u32;',
      'fn twice(x: Word) -> u32 { return x * 2u; }',
      withBody('vm_store(lid * 4u, twice(vm_load(wg)));'),
    ].join('\n');
    expect(problemsOf(text)).toEqual([]);
  });

  it.each([
    ['@group(0) @binding(0) var<storage, read_write> vm: array<u32>;', 'vm is a resource'],
    ['@group(0) @binding(9) var<uniform> u: vec4u;', 'u is a resource'],
    ['var<storage> x: array<u32>;', 'x is a resource'],
    ['@group(1) @binding(0) var t: texture_2d<f32>;', 't is a resource'],
    ['override n: u32 = 1;', 'n is an override'],
    ['enable f16;', 'directive enable'],
    ['diagnostic(off, derivative_uniformity);', 'directive diagnostic'],
    ['@compute @workgroup_size(1) fn main() {}', 'main is an entry point'],
  ])('%s', (declaration, reason) => {
    const problems = problemsOf(`\n${declaration}\n${withBody('')}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^2: /);
    expect(problems[0]).toContain(reason);
  });

  it.each([
    ['vm_control[0] = 1u;', 'vm_control belongs to the prelude'],
    ['atomicStore(&vm_control[0], 1u);', 'vm_control belongs to the prelude'],
    ['let x = vm_arena[5];', 'vm_arena belongs to the prelude'],
    ['vm_post(1u, 2u, 3u);', 'vm_post belongs to the prelude'],
    ['vm_memo[1] = 2u;', 'vm_memo belongs to the prelude'],
    ['let x = vm_loadd(0u);', 'vm_loadd belongs to the prelude or is not there; is vm_load meant?'],
    ['vm_load_u32(0u);', 'is not there; is vm_load meant?'],
    ['vm_write(0u, 1u);', 'is not there; is vm_store meant?'],
    ['vm_gather(0u);', 'kernels may call vm_arg, vm_load and vm_store'],
    ['let VM_LANES = 3u;', 'VM_LANES belongs to the prelude'],
    ['let vm_load = 3u;', 'vm_load can only be called'],
    ['var p: VmParams;', 'VmParams belongs to the prelude'],
    ['workgroupBarrier();', 'workgroupBarrier is not allowed'],
    ['storageBarrier();', 'storageBarrier is not allowed'],
    ['let s = subgroupAdd(1u);', 'subgroupAdd is not allowed'],
    ['let s = quadBroadcast(1u, 0u);', 'quadBroadcast is not allowed'],
    ['vm_barrier();', 'write if (!vm_barrier()) { return; }'],
    ['if (vm_barrier()) { return; }', 'write if (!vm_barrier()) { return; }'],
    ['if (!vm_barrier()) { vm_store(0u, 1u); }', 'write if (!vm_barrier()) { return; }'],
    [
      'let t = atomicAdd(&tile[0], 1u);',
      'others may come first then; use vm_atomic_add on a word of paged memory',
    ],
    ['let t = atomicExchange(&tile[0], 1u);', 'atomicExchange is not allowed'],
  ])('%s', (line, reason) => {
    const problems = problemsOf(withBody(`  let a = 1u;\n  ${line}`));
    expect(problems[0]).toMatch(/^3: /);
    expect(problems[0]).toContain(reason);
  });

  it.each([
    ['vm_checkpoint(vec4u(1u));', '2: vm_checkpoint needs a vm_restore, where a replay begins'],
    ['vm_store(0u, 1u); let s = vm_restore(vec4u());', '2: vm_restore must be the first operation'],
    ['if (lid > 3u) { let s = vm_restore(vec4u()); }', '2: vm_restore must be the first operation'],
    ['let s = vm_restore(vec4u(vm_load(0u)));', '2: vm_restore must be the first operation'],
    ['let s = vm_restore(vec4u()); let t = vm_restore(s);', '2: vm_restore may be called once'],
    [
      'let s = vm_restore(vec4u()); if (!vm_barrier()) { return; }',
      '2: vm_restore can not be used in a kernel with barriers',
    ],
  ])('%s', (line, reason) => {
    expect(problemsOf(withBody(`  ${line}`))[0]).toContain(reason);
  });

  it('a checkpoint after the state that was restored', () => {
    const text = 'let a = vm_arg(0u); var s = vm_restore(vec4u(a)); vm_checkpoint(s);';
    expect(problemsOf(withBody(text))).toEqual([]);
  });

  it('declaring what the prelude has is refused', () => {
    expect(problemsOf(`fn vm_load(a: u32) -> u32 { return a; }\n${withBody('')}`)).toEqual([
      "1: vm_load can only be called: it is the prelude's",
    ]);
    expect(problemsOf(`struct VmX { a: u32 }\n${withBody('')}`)).toHaveLength(1);
  });

  it('redeclaring a built-in that the prelude uses is refused', () => {
    expect(problemsOf(`fn max(a: u32, b: u32) -> u32 { return 0u; }\n${withBody('')}`)).toEqual([
      '1: max is used by the prelude',
    ]);
    expect(problemsOf(`alias u32 = i32;\n${withBody('')}`)).toHaveLength(1);
    expect(problemsOf(`fn min(a: u32, b: u32) -> u32 { return 0u; }\n${withBody('')}`)).toEqual([]);
  });

  it('a barrier outside the kernel function is refused', () => {
    const text = `fn helper() {\n  if (!vm_barrier()) { return; }\n}\n${withBody('helper();')}`;
    expect(problemsOf(text)).toEqual(['2: vm_barrier may be called in fn kernel only']);
  });

  it('the kernel function has to be there, with its two parameters', () => {
    expect(problemsOf('fn other() {}')).toEqual([
      expect.stringMatching(/^1: there is no fn kernel\(wg: u32, lid: u32\)/),
    ]);
    const wanted = [expect.stringMatching(/^1: it must be fn kernel\(wg: u32, lid: u32\)/)];
    expect(problemsOf('fn kernel(wg: u32) {}')).toEqual(wanted);
    expect(problemsOf('fn kernel(wg: u32, lid: i32) {}')).toEqual(wanted);
    expect(problemsOf('fn kernel(wg: u32, lid: u32) -> u32 { return 1u; }')).toEqual(wanted);
  });

  it('what is no WGSL is refused at its line, whatever it is', () => {
    expect(problemsOf(withBody('  let a = 1u;\n  let b = 2u'))[0]).toMatch(/^[345]: /);
    expect(problemsOf('')).toHaveLength(1);
    expect(problemsOf('$$$')).toHaveLength(1);
    expect(problemsOf('{'.repeat(5000)).length).toBeGreaterThan(0);
    expect(problemsOf('x'.repeat(300_000))).toHaveLength(1);
  });
});

describe('loops', () => {
  const guarded = (body: string): string => {
    const answer = checkKernel(withBody(body));
    if (isRefused(answer)) throw new Error(answer[0]!.reason);
    return answer.guarded;
  };

  it('each gets a check at its head, and no line moves', () => {
    const body = 'for (var i = 0u; i < 4u; i++) {\n while (i < 3u) { }\n loop\n { break; }\n}';
    const text = guarded(body);
    expect(text.split('if (vm_tick()) { break; }')).toHaveLength(4);
    expect(text.split('\n')).toHaveLength(withBody(body).split('\n').length);
    expect(text).toContain('while (i < 3u) { if (vm_tick()) { break; } }');
  });

  it('one with a barrier is left by the barrier, the one inside it by itself', () => {
    const text = guarded('loop { if (!vm_barrier()) { return; } while (true) { } }');
    expect(text).toContain('loop { _ = vm_tick(); if');
    expect(text).toContain('while (true) { if (vm_tick()) { break; } }');
  });
});

describe('the first attempt', () => {
  it.each([
    ['elementwise', 'direct'],
    ['stencil', 'direct'],
    ['increment', 'direct'],
    ['chase', 'direct'],
    ['histogram', 'direct'],
    ['swap', 'defer'],
    ['rotate', 'defer'],
    ['reduction', 'defer'],
    ['matmul', 'defer'],
    ['accumulate', 'log'],
    ['manyStores', 'log'],
    ['ticket', 'log'],
    ['bfs', 'log'],
    ['hashInsert', 'log'],
    ['exchange', 'log'],
    ['bytes', 'direct'],
    ['vectors', 'log'],
  ])('%s: %s', (name, mode) => {
    expect(orderOf(printVmKernel(SHAPE_KERNELS[name]!.ir)).mode).toBe(mode);
  });

  it('four effects are kept back, a fifth is not', () => {
    const stores = (count: number): string => 'vm_store(lid, 1u);'.repeat(count);
    expect(orderOf(withBody(stores(4)))).toMatchObject({ mode: 'defer', kept: 4 });
    expect(orderOf(withBody(stores(5))).mode).toBe('log');
  });

  it('a load after a store needs the log, on any path', () => {
    expect(orderOf(withBody('vm_store(0u, 1u); _ = vm_load(0u);')).mode).toBe('log');
    const either = 'if (lid > 3u) { vm_store(0u, 1u); } else { _ = vm_load(4u); }';
    expect(orderOf(withBody(either)).mode).toBe('direct');
    expect(orderOf(withBody(`${either} _ = vm_load(0u);`)).mode).toBe('log');
    expect(orderOf(withBody(`loop { ${either} }`)).mode).toBe('log');
    const called = `fn put() { vm_store(0u, 1u); }\n${withBody('put(); _ = vm_load(0u);')}`;
    expect(orderOf(called).mode).toBe('log');
    const cases = 'switch lid { case 1u: { vm_store(0u, 1u); } default: { _ = vm_load(1u); } }';
    expect(orderOf(withBody(cases)).mode).toBe('direct');
  });

  it('bounds the log where no loop does', () => {
    const loads = '_ = vm_load(0u); _ = vm_load_vec4(0u); vm_store(0u, 1u);';
    expect(orderOf(withBody(loads)).logWords).toBe(5);
    expect(orderOf(withBody(`while (true) { ${loads} }`)).logWords).toBeUndefined();
  });
});
