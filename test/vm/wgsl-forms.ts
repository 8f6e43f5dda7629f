/*
 * Good WGSL in forms that few write: for the check of kernels, and for a compiler that says that it
 * is good.
 */

/** A kernel with this body, its lines from 3 on. */
export function kernelWith(body: string, before = ''): string {
  return `${before}\nfn kernel(wg: u32, lid: u32) {\n${body}\n}`;
}

/** What WGSL predeclares, and words that are keywords elsewhere. */
export const KERNEL_NAMES: readonly string[] = (
  'array atomic bitcast block function immediate mat2x2 max min private ptr r32uint read ' +
  'read_write rgba8unorm sampler select storage texture_2d texture_external texture_storage_2d ' +
  'uniform vec2 vec4 workgroup workgroupBarrier subgroupAdd write'
).split(' ');

/** Variables, parameters and members of these names, used in all ways. */
export function namesKernel(names: readonly string[]): string {
  const uses = names.map((name, at) => [
    '{',
    `var ${name} = vec4u(lid); ${name}[1] = 3; ${name}.x += 1; ${name}.y++;`,
    `vm_store(0u, ${name}[0]-1u + (${name}.z >> 1));`,
    `{ let ${name} = lid < 5 && wg > 2; if ${name} { return; } }`,
    `{ var ${name} = lid; if (${name} < 5) { ${name} <<= 1; } while ${name} > 3 { break; } }`,
    `var s: S${at}; s.${name} = take${at}(1u); let p = &s.${name}; *p = s.${name};`,
    '}',
  ]);
  const before = names.map(
    (name, at) =>
      `struct S${at} { ${name}: u32, b: u32 } ` +
      `fn take${at}(${name}: u32) -> u32 { return ${name} * 2; }`,
  );
  return kernelWith(uses.flat().join('\n'), before.join('\n'));
}

/** A body, and what is declared before the kernel. */
export interface Form {
  readonly name: string;
  readonly body: string;
  readonly before: string;
}

const TEXTS: readonly (readonly [name: string, body: string, before?: string])[] = [
  ['assertions in functions', 'const_assert 1 < 2; { const_assert(3 > 2); } vm_store(0, 1);'],
  ['shifts between brackets', 'let x = vec2<u32>(lid >> 1, 3 >> 1); vm_store(0, x.x);'],
  ['comparisons between brackets', 'let x = vec2<bool>(lid >= 1, lid >= 3); _ = x;'],
  ['a minus right before a number', 'var a = vec4u(5); vm_store(0, a[0]-1u - u32(2)-1u);'],
  ['two minuses', 'let a = 3i--1i; let b = a---2i; var c = a; c--; for (; c > 0; c--) {} _ = b;'],
  [
    'sums as counts',
    'var a: array<u32, N-1>; var b: array<u32, (N>>1)>; _ = a[0] + b[0];',
    'const N = 8;',
  ],
  ['lists in lists, then a value', 'var a: array<vec2<u32>,2>=array<vec2<u32>,2>(); _ = a[0].x;'],
  [
    'commas behind the last',
    'var a: array<u32, 4,>; _ = vec2u(1, 2,); g(a[0],);',
    'fn g(a: u32,) {}',
  ],
  ['loops that begin with a step', 'var i = 0u; for (i++; i < 4; i++) { vm_store(0, i); }'],
  [
    'selectors',
    'switch lid { case A | 2, (A + 4),: { vm_store(0, 1); } case 9, default { } }',
    'const A = 1;',
  ],
  [
    'attributes',
    '@diagnostic(off, derivative_uniformity) if lid == 0 {} ' +
      '@diagnostic(off, chromium.unreachable_code,) ' +
      'loop @diagnostic(off, derivative_uniformity) { break; }',
    'struct S { @align(16) a: u32, @size(4 * N) b: u32 } const N = 4; ' +
      '@must_use fn g() -> u32 { return 1; }',
  ],
  ['numbers', 'let a = 1.f + .5 + 1. + 1e5 + 0x1p4 + 0X1.8p1f + 0f; _ = a; _ = 0xFFi; _ = 0X1Fu;'],
  [
    'constants of types further down',
    'vm_store_f32(0, A + f32(D));',
    'const A: F = 1; const D: L = 3u; alias L = u32; alias F = f32; var<private> q: L = 3u;',
  ],
  [
    'blanks everywhere',
    'h ( & z ) ;',
    'var < private > z : u32 ; fn h ( p : ptr < private , u32 , > ) { * p = 1 ; }',
  ],
  [
    'a word in both meanings',
    'let workgroup = 2u; t[lid] = workgroup; let a = bitcast<f32>(lid); ' +
      '{ let bitcast = a; _ = bitcast; }',
    'var<workgroup> t: array<u32, 64>;',
  ],
];

/** One by one. */
export const FORMS: readonly Form[] = TEXTS.map(([name, body, before = '']) => ({
  name,
  body,
  before,
}));
