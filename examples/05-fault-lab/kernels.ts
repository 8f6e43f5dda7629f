/*
 * Kernels to begin with, each with the contents that its memory has at first and, where it is
 * known, what has to come out. All work on arrays of equal length: `vm_arg(0)`, `vm_arg(1)` and so
 * on are their addresses, the argument behind the last array is their length in words.
 */
import { Prng } from '../../src/index.ts';

/** What an array holds at first. */
export type Fill = 'random' | 'order' | 'zero';

/** Arrays of words, as a kernel finds or leaves them. */
export type Arrays = readonly Uint32Array[];

/** Says what is wrong with what a kernel left, by what it found; nothing where all is right. */
export type Check = (before: Arrays, after: Arrays) => string | undefined;

/** A kernel of the list. */
export interface ExampleKernel {
  readonly help: string;
  readonly fills: readonly Fill[];
  readonly wgsl: string;
  readonly check?: Check;
}

/** Invocations of a workgroup, in all of them. */
export const LANES = 64;

const EXAMPLES = {
  elementwise: {
    help: 'c = 3 a + b: three arrays, each page once',
    fills: ['random', 'random', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let at = (wg * 64u + lid) * 4u;
  let a = vm_load(vm_arg(0u) + at);
  let b = vm_load(vm_arg(1u) + at);
  vm_store(vm_arg(2u) + at, 3u * a + b);
}
`,
    check: expecting(2, ([a, b], i) => 3 * a![i]! + b![i]!),
  },
  stencil: {
    help: 'three points: neighbours share pages',
    fills: ['random', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let i = wg * 64u + lid;
  let last = vm_arg(2u) - 1u;
  let left = select(i - 1u, 0u, i == 0u);
  let right = min(i + 1u, last);
  let l = vm_load(vm_arg(0u) + left * 4u);
  let m = vm_load(vm_arg(0u) + i * 4u);
  let r = vm_load(vm_arg(0u) + right * 4u);
  vm_store(vm_arg(1u) + i * 4u, l + 2u * m + r);
}
`,
    check: expecting(1, ([a], i) => {
      return a![Math.max(i - 1, 0)]! + 2 * a![i]! + a![Math.min(i + 1, a!.length - 1)]!;
    }),
  },
  increment: {
    help: 'adds 1 in place: a replay must not add it twice',
    fills: ['random'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let at = vm_arg(0u) + (wg * 64u + lid) * 4u;
  vm_store(at, vm_load(at) + 1u);
}
`,
    check: expecting(0, ([a], i) => a![i]! + 1),
  },
  histogram: {
    help: 'atomics on pages that the data chooses',
    fills: ['random', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let x = vm_load(vm_arg(0u) + (wg * 64u + lid) * 4u);
  vm_reduce_add(vm_arg(1u) + (x % vm_arg(2u)) * 4u, 1u);
}
`,
    check: ([data], after) => {
      const bins = new Uint32Array(data!.length);
      for (const x of data!) bins[x % bins.length]!++;
      return differs(1, bins, after[1]!);
    },
  },
  chase: {
    help: 'eight steps through a list: each address is loaded',
    fills: ['order', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let i = wg * 64u + lid;
  var p = i;
  for (var step = 0u; step < 8u; step++) {
    p = vm_load(vm_arg(0u) + p * 4u);
  }
  vm_store(vm_arg(1u) + i * 4u, p);
}
`,
    check: expecting(1, ([next], i) => {
      let p = i;
      for (let step = 0; step < 8; step++) p = next![p]!;
      return p;
    }),
  },
  reduction: {
    help: 'a sum per workgroup, with barriers: some invocations stop, others wait',
    fills: ['random', 'zero'],
    wgsl: `var<workgroup> sums: array<u32, 64>;

fn kernel(wg: u32, lid: u32) {
  sums[lid] = vm_load(vm_arg(0u) + (wg * 64u + lid) * 4u);
  if (!vm_barrier()) { return; }
  for (var half = 32u; half > 0u; half = half >> 1u) {
    if (lid < half) {
      sums[lid] += sums[lid + half];
    }
    if (!vm_barrier()) { return; }
  }
  if (lid == 0u) {
    vm_store(vm_arg(1u) + wg * 4u, sums[0]);
  }
}
`,
    check: expecting(1, ([data], i) => {
      if (i * LANES >= data!.length) return 0;
      return data!.subarray(i * LANES, (i + 1) * LANES).reduce((sum, x) => (sum + x) >>> 0, 0);
    }),
  },
  hash: {
    help: 'inserts every other word into a table, by compare and swap',
    fills: ['random', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let i = wg * 64u + lid;
  if (i % 2u == 1u) { return; }
  let key = vm_load(vm_arg(0u) + i * 4u) | 1u;
  let slots = vm_arg(2u);
  var slot = (key * 2654435769u) % slots;
  for (var tries = 0u; tries < slots; tries++) {
    let old = vm_atomic_cas(vm_arg(1u) + slot * 4u, 0u, key);
    if (old == 0u || old == key) { return; }
    slot = (slot + 1u) % slots;
  }
}
`,
    check: ([data], [, table]) => {
      const keys = new Set(data!.filter((_, i) => i % 2 === 0).map((x) => (x | 1) >>> 0));
      const found = [...table!].filter((x) => x !== 0);
      const isSame = found.length === keys.size && found.every((x) => keys.has(x));
      return isSame ? undefined : `${found.length} keys in the table, ${keys.size} inserted`;
    },
  },
  'out of bounds': {
    help: 'reads where nothing is: the access is refused, its invocation ends, others go on',
    fills: ['random', 'zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  let i = wg * 64u + lid;
  var at = vm_arg(0u) + i * 4u;
  if (i == 77u) {
    at = 64u;
  }
  vm_store(vm_arg(1u) + i * 4u, vm_load(at));
}
`,
  },
  endless: {
    help: 'never ends: its loop runs out of its budget',
    fills: ['zero'],
    wgsl: `fn kernel(wg: u32, lid: u32) {
  var x = 1u;
  while (x != 0u) {
    x = x | 1u;
  }
  vm_store(vm_arg(0u), x);
}
`,
  },
  refused: {
    help: 'what a kernel must not do: reasons stand at their lines',
    fills: ['zero'],
    wgsl: `@group(0) @binding(0) var<storage> ring: array<u32>;

fn kernel(wg: u32, lid: u32) {
  vm_control[0] = 7u;
  workgroupBarrier();
  vm_store(vm_arg(0u), ring[0]);
}
`,
  },
} as const satisfies Readonly<Record<string, ExampleKernel>>;

/** Names of the kernels in the list. */
export type ExampleName = keyof typeof EXAMPLES;
/** All of them. */
export const EXAMPLE_NAMES = Object.keys(EXAMPLES) as ExampleName[];

/** The kernel of that name. */
export function exampleKernel(name: ExampleName): ExampleKernel {
  return EXAMPLES[name];
}

/** The arrays that a kernel begins with. */
export function fillArrays(fills: readonly Fill[], words: number, seed: number): Uint32Array[] {
  const prng = new Prng(seed);
  return fills.map((fill) => {
    const array = new Uint32Array(words);
    if (fill === 'order') return prng.shuffle(array.map((_, i) => i));
    return fill === 'zero' ? array : array.map(() => prng.nextU32());
  });
}

/** A check of one array, word by word; numbers wrap as on the device. */
function expecting(which: number, word: (before: Arrays, index: number) => number): Check {
  return (before, after) => {
    const expected = before[0]!.map((_, i) => word(before, i));
    return differs(which, expected, after[which]!);
  };
}

function differs(which: number, expected: Uint32Array, found: Uint32Array): string | undefined {
  const at = expected.findIndex((word, i) => word !== found[i]);
  if (at < 0) return undefined;
  return `word ${at} of array ${which} is ${found[at]}, and should be ${expected[at]}`;
}
