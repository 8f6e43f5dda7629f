/*
 * Good WGSL that a check could trip over: names that mean something else elsewhere, brackets that
 * are comparisons, and forms that few write. Whether it is good is said by a compiler, in
 * test/gpu/vm-wgsl.test.ts.
 */
import { describe, expect, it } from 'vitest';
import type { CheckedKernel } from '../../../src/gpu/vm/check-kernel.ts';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import { moduleNames } from '../../../src/gpu/vm/own-names.ts';
import { PRELUDE_USES } from '../../../src/gpu/vm/public-names.ts';
import { VM_PARTS } from '../../../src/gpu/vm/vm-source.ts';
import { scanWgsl } from '../../../src/gpu/vm/wgsl-scanner.ts';
import { withoutComments } from '../../../src/engine/vm/kernel-text.ts';
import { FORMS, KERNEL_NAMES, kernelWith, namesKernel } from '../../vm/wgsl-forms.ts';

/** The problems of a kernel as "line:column reason". */
function problemsOf(text: string): string[] {
  const answer = checkKernel(text);
  if (!isRefused(answer)) return [];
  return answer.map(({ line, column, reason }) => `${line}:${column} ${reason}`);
}

function passed(text: string): CheckedKernel {
  const answer = checkKernel(text);
  if (isRefused(answer)) throw new Error(JSON.stringify(answer));
  return answer;
}

/** Tokens with those of template lists as ‹ and ›. */
function tokensOf(code: string): string {
  const shown = (text: string): string => (text === '<' ? '‹' : '›');
  return scanWgsl(code)
    .map(({ text, isBracket }) => (isBracket ? shown(text) : text))
    .join(' ')
    .trim();
}

describe('tokens', () => {
  it.each([
    ['array<u32, N>', 'array ‹ u32 , N ›'],
    ['a<b||c>d', 'a < b || c > d'],
    ['f(a < b, c > d)', 'f ( a ‹ b , c › d )'],
    ['f((a < b), (c > d))', 'f ( ( a < b ) , ( c > d ) )'],
    ['a < b && c > d', 'a < b && c > d'],
    ['x = a < b; y = c > d;', 'x = a < b ; y = c > d ;'],
    ['if a < b { c > d }', 'if a < b { c > d }'],
    ['a[b < c] > d', 'a [ b < c ] > d'],
    ['vec2<u32>(a >> 1, b>=2)', 'vec2 ‹ u32 › ( a >> 1 , b >= 2 )'],
    ['array<vec2<u32>,2>=x', 'array ‹ vec2 ‹ u32 › , 2 › = x'],
    ['array<array<u32,2>>>1', 'array ‹ array ‹ u32 , 2 › › > 1'],
    ['array<u32,(a>b)>', 'array ‹ u32 , ( a > b ) ›'],
    ['var<private> a', 'var ‹ private › a'],
    ['a<=b>=c<<d>>e>>=f', 'a <= b >= c << d >> e >>= f'],
    ['1<2>3', '1 < 2 > 3'],
  ])('%s', (code, wanted) => {
    expect(tokensOf(code)).toBe(wanted);
  });

  it.each([
    ['a[0]-1u', 'a [ 0 ] - 1u'],
    ['0xFFi 0X1Fu 0x1p4 0x.8p0 0x1.8p+1f', '0xFFi 0X1Fu 0x1p4 0x.8p0 0x1.8p+1f'],
    ['1. .5 1e5 1.5E-3f 0f 1h 2.xy', '1. .5 1e5 1.5E-3f 0f 1h 2. xy'],
    ['a--b a---b', 'a -- b a -- - b'],
    ['größe αβ _ _a __', 'größe αβ _ _a __'],
  ])('%s', (code, wanted) => {
    expect(tokensOf(code)).toBe(wanted);
  });

  it('lines are counted, and a character of none is told with its place', () => {
    expect(scanWgsl('a\n\n b\n').map(({ line, start }) => [line, start])).toEqual([
      [1, 0],
      [3, 4],
      [4, 6],
    ]);
    expect(problemsOf(`${kernelWith('')}\n  let $x = 1;`)).toEqual([
      expect.stringMatching(/^\d+:7 \$ is no part of WGSL$/),
    ]);
  });
});

describe('names that a kernel may use again', () => {
  it.each(KERNEL_NAMES)('%s, for what is in a function', (name) => {
    expect(problemsOf(namesKernel([name]))).toEqual([]);
  });

  it.each(KERNEL_NAMES)('%s, for a function, a structure, a constant', (name) => {
    const use = `var s: S_; s.a = ${name}(1u); vm_store(0u, s.a);`;
    const text = `fn ${name}(x: u32) -> u32 { return x; } struct S_ { a: u32 }`;
    expect(problemsOf(kernelWith(use, text))).toEqual([]);
    const structure = `struct ${name} { a: u32 }`;
    expect(problemsOf(kernelWith(`var s: ${name}; vm_store(0u, s.a);`, structure))).toEqual([]);
    expect(problemsOf(kernelWith(`vm_store(0u, ${name});`, `const ${name} = 4u;`))).toEqual([]);
  });

  it('what the prelude uses gets an ending, at module scope only', () => {
    const text = kernelWith('vm_store(max(1u), read);', 'fn max(a: u32) -> u32 { return a; }');
    const { guarded } = passed(text.replace('fn kernel', 'const read = 3u; fn kernel'));
    expect(guarded).toContain('fn max_own1(a: u32)');
    expect(guarded).toContain('vm_store(max_own1(1u), read_own1);');
    expect(guarded.split('\n')).toHaveLength(text.split('\n').length);
    const local = kernelWith('let max = 3u; vm_store(max, 1u);');
    expect(passed(local).guarded).toBe(local);
    // What no part of the prelude uses stays as it is.
    const min = kernelWith('vm_store(0u, min(1u));', 'fn min(a: u32) -> u32 { return a; }');
    expect(passed(min).guarded).toBe(min);
  });

  it('an ending is one that no name of the kernel has', () => {
    const text = kernelWith('let max_own1 = max(1u);', 'fn max(a: u32) -> u32 { return a; }');
    expect(passed(text).guarded).toContain('let max_own1 = max_own2(1u);');
  });

  it('messages have no endings, and columns are those of the text', () => {
    const own = 'fn max() { max(); }';
    expect(problemsOf(kernelWith('max();', own))).toEqual([
      '1:4 max calls itself: there is no recursion in WGSL',
    ]);
    const { asWritten } = passed(kernelWith('max();', 'fn max() {}'));
    expect(asWritten("unresolved 'max_own1' in vm_wg_n_add(1)")).toBe(
      "unresolved 'max' in atomicAdd(1)",
    );
  });

  it('a variable that is replaced has no ending left over', () => {
    const variable = 'var<workgroup> select: atomic<u32>;';
    const { guarded } = passed(kernelWith('let t = atomicAdd(&select, 1u);', variable));
    expect(guarded).toContain('let t = vm_wg_select_own1_add(0u, 1u);');
    const array = 'var<workgroup> select: array<atomic<u32>, 4>;';
    const other = passed(kernelWith('let t = atomicAdd(&select[lid], 1u);', array));
    expect(other.guarded).toContain('let t = vm_wg_select_own1_add(VmWord(lid), 1u);');
  });

  it('what every part of the prelude uses is listed', () => {
    const code = Object.values(VM_PARTS).map((part) => withoutComments(part) as string);
    const used = new Set<string>();
    for (const part of code) {
      // Lines that name other parts are no WGSL.
      const tokens = scanWgsl(part.replaceAll(/^\s*#.*$/gm, ''));
      const declared = new Set<string>();
      for (const [index, { text, kind }] of tokens.entries()) {
        const before = tokens[index - 1]?.text ?? '';
        const isDeclared = /^(let|var|fn)$/.test(before) || tokens[index + 1]?.text === ':';
        if (kind === 'name' && isDeclared) declared.add(text);
        if (kind === 'name' && before !== '.' && before !== '@') used.add(text);
      }
      for (const name of declared) used.delete(name);
    }
    const builtins = [...used].filter((name) => !/^(vm_|Vm|VM_)/.test(name));
    const known = new Set(['_', 'kernel', 'workgroup_id', 'local_invocation_index']);
    known.add('global_invocation_id');
    expect(builtins.filter((name) => !PRELUDE_USES.has(name) && !known.has(name))).toEqual([]);
    expect(builtins.length).toBeGreaterThan(10);
  });

  it('declarations at module scope are found whatever is around them', () => {
    const code =
      'var<private> a: u32; var b: t; fn c(x: u32) { let y = 1; } @must_use fn d() {} ' +
      'struct e { f: u32 } alias g = u32; const h = 1; override i = 2; const_assert j;';
    expect(moduleNames(scanWgsl(code)).join('')).toBe('abcdeghi');
  });
});

describe('forms', () => {
  it.each(FORMS)('$name', ({ body, before }) => {
    expect(problemsOf(kernelWith(body, before))).toEqual([]);
  });

  it('functions of its own are no built-ins, whatever their names', () => {
    const own = 'fn quadArea(a: u32) -> u32 { return a; }';
    expect(problemsOf(kernelWith('vm_store(0u, quadArea(1u));', own))).toEqual([]);
    const barrier = 'fn workgroupBarrier() {}';
    expect(problemsOf(kernelWith('workgroupBarrier();', barrier))).toEqual([]);
    // Not declared, or declared as what can't be called: the built-in is meant.
    expect(problemsOf(kernelWith('_ = quadArea(1u);'))[0]).toContain('quadArea is not allowed');
    const local = kernelWith('let subgroupAdd = 1u; _ = subgroupAdd(1u);');
    expect(problemsOf(local)[0]).toContain('subgroupAdd is not allowed');
  });

  it.each([
    ['let a = array<>();', '3:15 > is not expected here'],
    ['let a = (1u;', '3:12 Expected'],
    ['let a = 1u\n}', "4:1 Expected ';'"],
    ['vm_store(0u, VM_MINE);', '3:14 VM_MINE belongs to the prelude'],
    ['vm_store(0u, VM_MINE);', 'give a name of your own another beginning'],
  ])('%s is refused at its place', (body, wanted) => {
    expect(problemsOf(kernelWith(body)).join()).toContain(wanted);
  });

  it('an attribute without an end hides nothing', () => {
    const hidden = '@group(0 @binding(0) var<storage, read_write> vm: array<u32>;';
    expect(problemsOf(`${hidden}\n${kernelWith('')}`)).not.toEqual([]);
    const resource = '@group(0) @binding((1)) var<storage, read_write> mine: array<u32>;';
    expect(problemsOf(`${resource}\n${kernelWith('')}`)[0]).toContain('mine is a resource');
  });
});
