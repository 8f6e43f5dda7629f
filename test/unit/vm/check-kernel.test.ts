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
    ['let t = atomicAdd(&tile[0], 1u);', 'write atomicAdd(&name, …) or atomicAdd(&name[index]'],
    ['let t = atomicExchange(&tile[0], 1u);', 'write atomicExchange(&name, …)'],
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

describe('texts that lead a check astray', () => {
  it.each([
    ['fn f() { f(); }', '2: f calls itself: there is no recursion'],
    ['fn f() { g(); }\nfn g() {\n f(); }', '4: f calls itself through g: there is no recursion'],
    ['fn f() -> u32 { return g(); }\nfn g() -> u32 { return 1u + f(); }', '3: f calls itself'],
    ['fn f() { kernel(1u, 2u); }', '3: f calls itself through kernel'],
  ])('recursion: %s', (functions, reason) => {
    const problems = problemsOf(`\n${functions}\n${withBody('').replace('{', '{ f();')}`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(reason);
  });

  it('functions that call one another without a circle are fine, however many', () => {
    const names = Array.from({ length: 3000 }, (_, i) => `g${i}`);
    const chain = names.map((name, i) => `fn ${name}() { ${names[i + 1] ?? 'vm_load'}(0u); }`);
    const shared = names.slice(0, 64).map((name, i) => {
      const next = names[i + 1]!;
      return `fn ${name}() { ${next}(); ${next}(); }`;
    });
    const end = 'fn g64() { vm_reduce_add(0u, 1u); }';
    expect(problemsOf([...chain, withBody('g0(0u);')].join('\n').replaceAll('(0u)', '()'))).toEqual(
      [],
    );
    const order = orderOf([...shared, end, withBody('g0();')].join('\n'));
    // 2^64 calls: more than can be kept back, all the same.
    expect(order).toMatchObject({ mode: 'log', atomic: true });
  });

  it('a hazard behind a call is one, and a call behind an effect', () => {
    const put = 'fn put() { vm_store(0u, 1u); }';
    const get = 'fn get() { _ = vm_load(0u); }';
    const both = 'fn both() { get(); put(); }';
    const modeOf = (body: string): string =>
      orderOf([put, get, both, withBody(body)].join('\n')).mode;
    expect(modeOf('both();')).toBe('direct');
    expect(modeOf('put(); get();')).toBe('log');
    expect(modeOf('both(); get();')).toBe('log');
    expect(modeOf('get(); both();')).toBe('direct');
    expect(modeOf('loop { both(); }')).toBe('log');
    expect(modeOf('loop { get(); } put();')).toBe('direct');
  });

  it('the conditions of else-ifs come one after the other, and before what follows them', () => {
    const once = 'vm_atomic_add(0u, 1u) == 0u';
    const store = 'fn f() -> bool { vm_store(0u, 1u); return false; }';
    const of = (body: string): ReturnType<typeof orderOf> =>
      orderOf([store, withBody(body)].join('\n'));
    const after = 'if (lid == 9u) {} else if';
    expect(of(`${after} (${once}) {} else { _ = vm_load(0u); }`).mode).toBe('log');
    expect(of(`${after} (${once}) {} else if (lid == 1u) { _ = vm_load(0u); }`).mode).toBe('log');
    expect(of(`${after} (${once}) { _ = vm_load(0u); }`).mode).toBe('log');
    // Loads before the one effect, and two ways of which one has it: as they were.
    expect(of(`${after} (vm_load(0u) == 0u) {} else { vm_store(0u, 1u); }`).mode).toBe('direct');
    expect(of(`${after} (lid == 1u) { vm_store(0u, 1u); } else { _ = vm_load(0u); }`).mode).toBe(
      'direct',
    );
    // Stores that can all be done are more than one.
    expect(of(`${after} (f()) {} else { vm_store(0u, 5u); }`)).not.toMatchObject({
      mode: 'direct',
    });
    const four = 'if (vm_load(0u) == 0u) {}' + ' else if (vm_load(4u) == 0u) {}'.repeat(3);
    expect(of(four).logWords).toBe(4);
  });

  it('loops in each other take no time that doubles with each', () => {
    const nested = (depth: number): string => 'loop {'.repeat(depth) + '}'.repeat(depth);
    const body = nested(100).replace('{}', '{ _ = vm_load(0u); vm_reduce_add(0u, 1u); }');
    expect(orderOf(withBody(body))).toMatchObject({ mode: 'log', logWords: undefined });
  });

  it.each([
    ['parentheses', `_ = ${'('.repeat(10_000)}1u${')'.repeat(10_000)};`],
    ['brackets', `_ = a${'[b'.repeat(10_000)}${']'.repeat(10_000)};`],
    ['blocks', '{'.repeat(10_000) + '}'.repeat(10_000)],
    ['ifs', 'if (true) {'.repeat(10_000) + '}'.repeat(10_000)],
    ['prefixes', `_ = ${'!'.repeat(50_000)}true;`],
    ['sums', `_ = ${'1u + '.repeat(30_000)}1u;`],
    ['members', `_ = a${'.b'.repeat(50_000)};`],
    ['types', `var x: ${'array<'.repeat(20_000)}u32${'>'.repeat(20_000)};`],
  ])('%s in each other by thousands: refused at their line', (_name, line) => {
    expect(problemsOf(withBody(line))).toEqual([
      '2: expressions or blocks are in each other too deep',
    ]);
  });

  it('what is in each other a hundred times, and long sums, are fine', () => {
    const deep = (open: string, close: string): string => open.repeat(100) + close.repeat(100);
    expect(problemsOf(withBody(deep('{', '}')))).toEqual([]);
    expect(problemsOf(withBody(`_ = ${'('.repeat(100)}1u${')'.repeat(100)};`))).toEqual([]);
    expect(problemsOf(withBody(`_ = ${'1u + '.repeat(400)}1u;`))).toEqual([]);
    const elseIfs = 'if (lid == 0u) {}' + ' else if (lid == 1u) {}'.repeat(1000);
    expect(problemsOf(withBody(elseIfs))).toEqual([]);
  });

  it('constants of constants, and structures of structures, take no time that doubles', () => {
    const names = Array.from({ length: 60 }, (_, i) => i);
    const constants = names.map((i) => `const C${i + 1} = C${i} + C${i};`);
    const structures = names.map((i) => `struct S${i + 1} { a: S${i}, b: S${i} }`);
    const text = [
      'const C0 = f();',
      ...constants,
      'struct S0 { a: u32 }',
      ...structures,
      withBody('var x: S60; _ = C60 + x.a;'),
      'fn other(later: Later) {}',
      'alias Later = u32;',
      'const HUGE = array<u32, 1000000000>();',
    ];
    expect(problemsOf(text.join('\n'))).toEqual([]);
  });

  it('a comment without end: refused where it begins', () => {
    expect(problemsOf(`${withBody('')}\n// fine /*\n /* and /* more */\n\n`)).toEqual([
      '5: the comment that begins here has no end',
    ]);
    expect(problemsOf(`${withBody('')}\n/* /* in */ each other // */ // and /* on`)).toEqual([]);
    expect(problemsOf(`${withBody('/* // */')}\n/**/ /***/`)).toEqual([]);
  });

  it('what is behind the last declaration is not left out', () => {
    const hidden = '@group(0) @binding(0) var<storage, read_write> vm: array<u32>;';
    expect(problemsOf(`${withBody('')}\n} ${hidden}`)).toEqual(['4: } begins no declaration']);
    expect(problemsOf(`${withBody('')}\nsurprise ${hidden}`)[0]).toMatch(/^4: /);
    expect(problemsOf(`${withBody('')};;\n;`)).toEqual([]);
  });

  it.each(['\r', '\v', '\f', '\u0085', '\u2028', '\u2029'])(
    'a comment ends where the compiler ends it: at %j',
    (end) => {
      const text = withBody(`  // a comment${end}  vm_arena[5] = 1u;`);
      expect(problemsOf(text)[0]).toMatch(/^3: vm_arena belongs to the prelude/);
      expect(problemsOf(withBody(`  // a comment${end}  vm_store(0u, 1u);`))).toEqual([]);
    },
  );

  it('lines that end as on Windows are lines', () => {
    const text = withBody('  // a comment\r\n  let a = 1u; // another\r\n  vm_post();\r');
    expect(problemsOf(text)[0]).toMatch(/^4: vm_post/);
    expect(problemsOf(`\uFEFF${withBody('')}\r\n`)).toEqual([]);
  });

  it.each(['\u200E', '\u200F'])('%j is a blank, and no part of a name', (blank) => {
    expect(problemsOf(withBody(`${blank}vm_arena${blank}[5] = 1u;`))[0]).toMatch(/^2: vm_arena/);
    expect(problemsOf(withBody(`${blank}vm_store${blank}(0u, 1u);`))).toEqual([]);
  });

  it('letters of any language make names, other characters none', () => {
    expect(problemsOf(withBody('let länge = 1u; let 長さ = länge;'))).toEqual([]);
    for (const wrong of ['\u200B', '\u00A0', '\u2060', '\uFEFF', '😀']) {
      expect(problemsOf(withBody(`let a${wrong} = 1u;`)), wrong).toEqual([
        '2: there is a character that no name has',
      ]);
    }
  });

  it.each(['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'isPrototypeOf'])(
    '%s is a name like others',
    (name) => {
      const text = [
        `fn ${name}(x: u32) -> u32 { return x; }`,
        withBody(`  let y = ${name}(1u); vm_store(0u, y);`),
      ];
      expect(problemsOf(text.join('\n'))).toEqual([]);
      const uses = `var ${name} = 1u; ${name} = ${name} + 1u; ${name}++; _ = vm_load(${name});`;
      expect(problemsOf(withBody(uses))).toEqual([]);
      expect(problemsOf(`struct ${name} { ${name}: u32 }\n${withBody(`var a: ${name};`)}`)).toEqual(
        [],
      );
      expect(problemsOf(`fn ${name}() { ${name}(); }\n${withBody('')}`)).toHaveLength(1);
    },
  );

  it('__proto__ is a name like others, too', () => {
    const text = `fn __proto__() {}\n${withBody('__proto__(); var a = 1u; a += a;')}`;
    expect(problemsOf(text)).toEqual([]);
    expect(problemsOf(`fn __proto__() { __proto__(); }\n${withBody('')}`)).toHaveLength(1);
  });

  it('every statement of a case counts', () => {
    const cases = (body: string): string =>
      withBody(`switch lid { case 1u: { ${body} } default: {} }`);
    const quiet = 'let a = 1u; let b = 2u; let c = 3u;';
    expect(problemsOf(cases(`${quiet} vm_barrier();`))[0]).toContain('write if (!vm_barrier())');
    expect(orderOf(cases(`${quiet} vm_store(0u, 1u);`)).mode).toBe('direct');
    expect(orderOf(cases(`${quiet} vm_store(0u, 1u); _ = vm_load(0u);`)).mode).toBe('log');
    expect(orderOf(cases(`${quiet} vm_reduce_add(0u, 1u); { { _ = vm_load(0u); } }`)).mode).toBe(
      'log',
    );
  });

  it('a condition may begin with a parenthesis', () => {
    expect(problemsOf(withBody('if (lid > 1u) && (wg > 1u) { return; }'))).toEqual([]);
    expect(problemsOf(withBody('while (lid + 1u) * 2u < 7u { break; }'))).toEqual([]);
  });

  it.each([
    ['digits', '1'.repeat(190_000)],
    ['digits with a point', `0.${'1'.repeat(190_000)}`],
    ['letters', 'a'.repeat(190_000)],
    ['letters behind the prelude’s prefix', `vm_${'a'.repeat(190_000)}`],
  ])('%s by hundreds of thousands: refused', (_name, word) => {
    const reason = 'a name or a number has at most 200 characters';
    expect(problemsOf(withBody(`\n  let x = ${word};`))).toEqual([`3: ${reason}`]);
    expect(problemsOf(withBody(`\n  // let x = ${word};`))).toEqual([]);
    const long = word.slice(0, (word.startsWith('0.') ? 2 : 0) + 201);
    expect(problemsOf(withBody(`let x = ${long};`))).toEqual([`2: ${reason}`]);
    expect(problemsOf(withBody(`let x = ${long.slice(0, -1)};`)).join()).not.toContain(reason);
  });

  it('functions that all call the first: the first circles are told', () => {
    const names = Array.from({ length: 6000 }, (_, i) => `g${i}`);
    const all = names.map((name, i) => `fn ${name}() { g0(); ${names[i + 1] ?? 'g1'}(); }`);
    const problems = problemsOf([...all, withBody('')].join('\n'));
    expect(problems).toHaveLength(100);
    expect(problems[0]).toBe('1: g0 calls itself: there is no recursion in WGSL');
    expect(problems[2]).toBe('3: g0 calls itself through g1 and g2: there is no recursion in WGSL');
    expect(problems[9]).toBe('10: g0 calls itself through 9 others: there is no recursion in WGSL');
  });

  it('a mark of a comment in another comment is none', () => {
    expect(problemsOf(withBody('// /* \n vm_post(); // */'))[0]).toMatch(/^3: vm_post/);
    expect(problemsOf(withBody('/* // */ vm_post();'))[0]).toMatch(/^2: vm_post/);
    expect(problemsOf(withBody('/* /* */ vm_post(); */'))).toEqual([]);
    expect(problemsOf(withBody('/*/ vm_post(); */'))).toEqual([]);
    expect(problemsOf(withBody('/* //*/ vm_post(); /**/ /*\n*/ */ */'))).toEqual([]);
    expect(problemsOf(withBody('let a = 4u */**/ 2u;'))).toEqual([]);
  });

  it('of thousands of problems the first are told, at once', () => {
    const problems = problemsOf(withBody('vm_x();\n'.repeat(20_000)));
    expect(problems).toHaveLength(100);
    expect(problems[99]).toMatch(/^101: /);
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

  it('one that may go round without a barrier is left at its head, by all', () => {
    const meet = '{ _ = vm_tick(); if (!vm_barrier()) { return; }';
    for (const [head, rest] of [
      ['loop {', ' if (vm_uniform(lid) == 3u) { break; } }'],
      ['while (vm_uniform(lid) < 3u) {', ' }'],
      ['for (var i = 0u; i < vm_uniform(lid); i++) {', ' }'],
      ['loop {', ' if (wg == 1u) { if (!vm_barrier()) { return; } } }'],
      ['loop {', ' if (wg == 1u) { continue; } if (!vm_barrier()) { return; } }'],
    ] as const) {
      expect(guarded(head + rest)).toContain(head.slice(0, -1) + meet + rest);
    }
    // What comes first in it is done once.
    const once = guarded('for (var i = vm_uniform(lid); i < 3u; i++) { }');
    expect(once).toContain('i++) { if (vm_tick()) { break; } }');
  });

  it('one that only return ends gives a value where its function does', () => {
    const body = 'let n = 4u;';
    const text = `fn a(x: u32) -> vec2<u32> { loop { if (x > 1u) { return vec2u(); } } }
fn b() -> u32 { for (;;) { return 1u; } }
fn c() { loop { return; } }
fn d() -> u32 { for (var i = 0u; i < 3u; i++) { } return 1u; }
fn e() -> u32 { while (true) { } return 1u; }
${withBody(body)}`;
    const answer = checkKernel(text);
    if (isRefused(answer)) throw new Error(answer[0]!.reason);
    const heads = answer.guarded
      .split('\n')
      .map((line) => /vm_tick\(\)\) (\{.*?\})/.exec(line)?.[1]);
    const leave = '{ break; }';
    const wanted = ['{ return vec2 < u32 >(); }', '{ return u32(); }', leave, leave, leave];
    expect(heads.slice(0, 5)).toEqual(wanted);
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
    ['compact', 'log'],
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
