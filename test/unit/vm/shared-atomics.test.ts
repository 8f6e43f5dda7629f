/*
 * Which atomics on workgroup memory become operations, which are left, and which are refused.
 */
import { describe, expect, it } from 'vitest';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import type { CheckedKernel } from '../../../src/gpu/vm/check-kernel.ts';

const DECLARED = 'var<workgroup> n: atomic<u32>; var<workgroup> m: array<atomic<i32>, 4>;';

function check(body: string, before = DECLARED): ReturnType<typeof checkKernel> {
  return checkKernel(`${before}\nfn kernel(wg: u32, lid: u32) {\n${body}\n}`);
}

function passed(body: string, before = DECLARED): CheckedKernel {
  const checked = check(body, before);
  if (isRefused(checked)) throw new Error(JSON.stringify(checked));
  return checked;
}

const lineOf = ({ guarded }: CheckedKernel): string => guarded.split('\n')[2]!;

describe('atomics on workgroup memory', () => {
  it.each([
    ['let a = atomicAdd(&n, 1u);', 'let a = vm_wg_n_add(0u, 1u);'],
    ['let a = atomicSub(&m[lid & 3u], -1);', 'let a = vm_wg_m_sub(VmWord(lid & 3u), -1);'],
    ['_ = atomicLoad(&m[(1)]);', '_ = vm_wg_m_load(VmWord((1)));'],
    [
      'let a = atomicExchange(&m[atomicLoad(&n)], 2);',
      'let a = vm_wg_m_exchange(VmWord(vm_wg_n_load(0u)), 2);',
    ],
    [
      'if (atomicCompareExchangeWeak(&n, 1u, 2u).exchanged) { atomicStore(&n, 3u); }',
      'if (vm_wg_n_cas(0u, 1u, 2u).exchanged) { vm_wg_n_store_only(0u, 3u); }',
    ],
    [
      'atomicMax(&n, 1u); let a = atomicMax(&n, 2u);',
      'vm_wg_n_max_only(0u, 1u); let a = vm_wg_n_max(0u, 2u);',
    ],
  ])('%s becomes an operation', (body, wanted) => {
    const checked = passed(body);
    expect(lineOf(checked)).toBe(wanted);
    expect(checked.shared!.words).toBe(5);
    expect(checked.order.meets).toBe(true);
  });

  it.each(['atomicAdd(&n, 1u);', 'atomicStore(&m[0], 1);', 'let b = n_atomicAdd(1u);'])(
    '%s stays as it is: nobody uses a result',
    (body) => {
      const before = `${DECLARED} fn n_atomicAdd(a: u32) -> u32 { return a; }`;
      const checked = passed(body, before);
      expect(lineOf(checked)).toBe(body);
      expect(checked.shared).toBeNull();
      expect(checked.order.meets).toBe(false);
    },
  );

  it('a result takes a word of the log; in a loop it has no bound', () => {
    const before = passed('let x = vm_load(0u);').order.logWords!;
    const twice = 'let x = vm_load(0u); atomicAdd(&n, 1u); _ = atomicAdd(&n, atomicLoad(&n));';
    expect(passed(twice).order.logWords).toBe(before + 2);
    const loop = 'for (var i = 0u; i < 3u; i++) { let a = atomicAdd(&n, 1u); }';
    expect(passed(loop).order.logWords).toBeUndefined();
  });

  it('an effect at the end is kept back, since the workgroup stops as a whole', () => {
    const { order } = passed('let a = atomicAdd(&n, 1u); vm_store(a * 4u, vm_load(0u));');
    expect(order).toMatchObject({ mode: 'defer', kept: 1 });
    const log = passed('vm_reduce_add(0u, 1u); let a = vm_load(atomicAdd(&n, 1u));');
    expect(log.order.mode).toBe('log');
  });

  it.each(['N', '4u', '4', '0x4u'])('%s counts elements', (count) => {
    const before = `const N: u32 = 4u; var<workgroup> n: array<atomic<u32>, ${count}>;`;
    expect(passed('_ = atomicAdd(&n[0], 1u);', before).shared!.words).toBe(4);
  });

  it.each([
    ['var<workgroup> n: array<atomic<u32>, 2 * 2>;', '_ = atomicAdd(&n[0], 1u);', 1],
    ['var<workgroup> n: array<atomic<u32>, 0>;', '_ = atomicAdd(&n[0], 1u);', 1],
    ['var<workgroup> n: array<array<atomic<u32>, 2>, 2>;', '_ = atomicAdd(&n[0][1], 1u);', 1],
    ['struct S { a: atomic<u32> } var<workgroup> n: S;', '_ = atomicAdd(&n.a, 1u);', 1],
    ['alias A = atomic<u32>; var<workgroup> n: A;', '_ = atomicAdd(&n, 1u);', 1],
    [DECLARED, '\nlet p = &n; _ = atomicAdd(p, 1u);', 4],
    [DECLARED, 'let a = atomicExchange(&(n), 1u);', 3],
    ['var<workgroup> n: array<atomic<u32>, 100000>;', 'let a = atomicAdd(&n[1], 1u);', 3],
  ])('%s with %s is refused by line', (before, body, line) => {
    const checked = check(body, before);
    if (!isRefused(checked)) throw new Error(checked.guarded);
    expect(checked.map((one) => one.line)).toEqual([line]);
    // Without results other than of loads it passes, as it is.
    const other = body.replace(/(?:_ =|let a =)(?= atomic)/, '');
    const first = passed(other.replace('atomicExchange', 'atomicAdd'), before);
    expect(first.shared).toBeNull();
    const loads = passed(
      other.replace(/atomic\w+\(([^,]*), 1u\)/, 'let b = atomicLoad($1)'),
      before,
    );
    expect(loads.shared).toBeNull();
  });

  it('go together with no checkpoints', () => {
    const checked = check('var s = vm_restore(vec4u());\ns.x = atomicAdd(&n, 1u);');
    expect(isRefused(checked) && checked[0]).toMatchObject({ line: 3, column: 9 });
  });
});
