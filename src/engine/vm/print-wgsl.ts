/*
 * Prints a kernel of the small language as WGSL: as a kernel over virtual memory, which calls the
 * prelude's `vm_*` functions, or as a plain kernel over one buffer, which is what costs are
 * compared with.
 *
 * Locking. None; pure. Source: our own.
 */
import type { VmExpr, VmIrKernel, VmStatement, VmType } from './ir.ts';
import { variablesOf } from './ir.ts';

const TYPES: Readonly<Record<VmType, string>> = { u32: 'u32', f32: 'f32', vec4: 'vec4u' };

/** Where in the printed text memory operations go: the prelude's or the plain kernel's names. */
type Prefix = 'vm_' | 'raw_';

/**
 * The kernel as a user would write it for the prelude: `fn kernel(wg: u32, lid: u32)`.
 *
 * @returns WGSL without bindings and entry point
 */
export function printVmKernel(kernel: VmIrKernel): string {
  return print(kernel, 'vm_');
}

/**
 * The same kernel over one storage buffer `mem`, address 0 being its first byte: complete WGSL with
 * an entry point `main`, bindings 0 (`mem`) and 1 (`raw_args`, 32 words).
 */
export function printRawKernel(kernel: VmIrKernel): string {
  const atomics = usesAtomics(kernel.body);
  const get = atomics ? 'atomicLoad(&mem[at >> 2u])' : 'mem[at >> 2u]';
  const put = atomics ? 'atomicStore(&mem[at >> 2u], value)' : 'mem[at >> 2u] = value';
  const word = atomics ? 'atomic<u32>' : 'u32';
  const lines = [
    `@group(0) @binding(0) var<storage, read_write> mem: array<${word}>;`,
    '@group(0) @binding(1) var<uniform> raw_args: array<vec4u, 8>;',
    'fn raw_arg(i: u32) -> u32 { return raw_args[i >> 2u][i & 3u]; }',
    `fn raw_load(at: u32) -> u32 { return ${get}; }`,
    `fn raw_store(at: u32, value: u32) { ${put}; }`,
    'fn raw_load_f32(at: u32) -> f32 { return bitcast<f32>(raw_load(at)); }',
    'fn raw_store_f32(at: u32, value: f32) { raw_store(at, bitcast<u32>(value)); }',
    'fn raw_load_vec4(at: u32) -> vec4u {',
    '  return vec4u(raw_load(at), raw_load(at + 4u), raw_load(at + 8u), raw_load(at + 12u));',
    '}',
    'fn raw_store_vec4(at: u32, value: vec4u) {',
    '  raw_store(at, value.x); raw_store(at + 4u, value.y);',
    '  raw_store(at + 8u, value.z); raw_store(at + 12u, value.w);',
    '}',
    'fn raw_load_byte(at: u32) -> u32 { return (raw_load(at) >> ((at & 3u) * 8u)) & 255u; }',
    ...(atomics ? RAW_ATOMICS : []),
    print(kernel, 'raw_'),
    `@compute @workgroup_size(${kernel.lanes})`,
    'fn main(',
    '  @builtin(workgroup_id) group: vec3u,',
    '  @builtin(num_workgroups) groups: vec3u,',
    '  @builtin(local_invocation_index) lane: u32,',
    ') {',
    '  kernel(group.y * groups.x + group.x, lane);',
    '}',
  ];
  return lines.join('\n');
}

const RAW_ATOMICS: readonly string[] = [
  ...['add', 'sub', 'min', 'max', 'and', 'or', 'xor', 'exchange'].map((name) => {
    const call = `atomic${name[0]!.toUpperCase()}${name.slice(1)}`;
    const body = `return ${call}(&mem[at >> 2u], value);`;
    return `fn raw_atomic_${name}(at: u32, value: u32) -> u32 { ${body} }`;
  }),
  ...['add', 'sub', 'min', 'max', 'and', 'or', 'xor'].map(
    (name) => `fn raw_reduce_${name}(at: u32, value: u32) { _ = raw_atomic_${name}(at, value); }`,
  ),
  'fn raw_atomic_cas(at: u32, compare: u32, value: u32) -> u32 {',
  '  loop {',
  '    let seen = atomicCompareExchangeWeak(&mem[at >> 2u], compare, value);',
  '    if (seen.exchanged || seen.old_value != compare) { return seen.old_value; }',
  '  }',
  '}',
  'fn raw_store_byte(at: u32, value: u32) {',
  '  let shift = (at & 3u) * 8u;',
  '  atomicAnd(&mem[at >> 2u], ~(255u << shift));',
  '  atomicOr(&mem[at >> 2u], (value & 255u) << shift);',
  '}',
];

/** Whether a kernel needs memory that is made of atomics. */
export function usesAtomics(body: readonly VmStatement[]): boolean {
  return body.some((one) => {
    if (one.kind === 'atomic') return true;
    if (one.kind === 'store') return one.width === 'byte';
    if (one.kind === 'if') return usesAtomics(one.yes) || usesAtomics(one.otherwise);
    return one.kind === 'while' && usesAtomics(one.body);
  });
}

function print(kernel: VmIrKernel, prefix: Prefix): string {
  const lines: string[] = [];
  if (kernel.sharedWords > 0) {
    const type = kernel.sharedAtomics ? 'atomic<u32>' : 'u32';
    lines.push(`var<workgroup> tile: array<${type}, ${kernel.sharedWords}>;`);
  }
  const { counters = 0 } = kernel;
  if (counters > 0) lines.push(`var<workgroup> counts: array<atomic<u32>, ${counters}>;`);
  if (prefix === 'raw_') lines.push('var<workgroup> raw_shown: u32;');
  lines.push('fn kernel(wg: u32, lid: u32) {', `  let gid = wg * ${kernel.lanes}u + lid;`);
  for (const [name, type] of variablesOf(kernel)) lines.push(`  var ${name}: ${TYPES[type]};`);
  const printer = new Printer(kernel, prefix, lines);
  printer.block(kernel.body, '  ');
  lines.push('}', '');
  return lines.join('\n');
}

class Printer {
  private readonly kernel: VmIrKernel;
  private readonly prefix: Prefix;
  private readonly lines: string[];

  constructor(kernel: VmIrKernel, prefix: Prefix, lines: string[]) {
    this.kernel = kernel;
    this.prefix = prefix;
    this.lines = lines;
  }

  block(body: readonly VmStatement[], indent: string): void {
    for (const one of body) this.statement(one, indent);
  }

  private statement(one: VmStatement, indent: string): void {
    const line = (text: string): void => {
      this.lines.push(indent + text);
    };
    switch (one.kind) {
      case 'set':
        return line(`${one.name} = ${this.expr(one.value)};`);
      case 'pack':
        return line(`${one.name} = vec4u(${one.parts.map((part) => this.expr(part)).join(', ')});`);
      case 'restore':
        return line(this.restore(one));
      case 'checkpoint':
        return this.prefix === 'raw_' ? undefined : line(`vm_checkpoint(${one.name});`);
      case 'share':
        return line(this.share(one.index, one.value));
      case 'shareAdd':
        return line(`atomicAdd(&tile[${this.expr(one.index)}], ${this.expr(one.value)});`);
      case 'count':
        return line(this.count(one));
      case 'uniform':
        return line(this.uniform(one));
      case 'barrier':
        return line(this.barrier(one.storage));
      case 'break':
        return line('break;');
      case 'if':
        line(`if (${this.expr(one.c)}) {`);
        this.block(one.yes, `${indent}  `);
        if (one.otherwise.length > 0) {
          line('} else {');
          this.block(one.otherwise, `${indent}  `);
        }
        return line('}');
      case 'while':
        // `loop` and not `while`: the guard that is put at its head comes before the condition.
        line('loop {');
        line(`  if (!(${this.expr(one.c)})) { break; }`);
        this.block(one.body, `${indent}  `);
        return line('}');
      case 'load':
      case 'store':
      case 'atomic':
      case 'prefetch':
        return line(this.memory(one));
    }
  }

  private restore({ name, parts }: Extract<VmStatement, { kind: 'restore' }>): string {
    const first = `vec4u(${parts.map((part) => this.expr(part)).join(', ')})`;
    return `${name} = ${this.prefix === 'raw_' ? first : `vm_restore(${first})`};`;
  }

  private memory(
    one: Extract<VmStatement, { kind: 'load' | 'store' | 'atomic' | 'prefetch' }>,
  ): string {
    const at = this.expr(one.at);
    switch (one.kind) {
      case 'load':
        return `${one.name} = ${this.prefix}load${suffix(one.width)}(${at});`;
      case 'store':
        return `${this.prefix}store${suffix(one.width)}(${at}, ${this.expr(one.value)});`;
      case 'prefetch':
        if (this.prefix === 'raw_') return '';
        return `vm_prefetch${one.write ? '_write' : ''}(${at});`;
      case 'atomic': {
        const value = this.expr(one.value);
        if (one.op === 'cas') {
          const call = `${this.prefix}atomic_cas(${at}, ${this.expr(one.compare!)}, ${value})`;
          return one.name === undefined ? `_ = ${call};` : `${one.name} = ${call};`;
        }
        if (one.name === undefined && one.op !== 'exchange') {
          return `${this.prefix}reduce_${one.op}(${at}, ${value});`;
        }
        return `${one.name ?? '_'} = ${this.prefix}atomic_${one.op}(${at}, ${value});`;
      }
    }
  }

  private share(index: VmExpr, value: VmExpr): string {
    const place = `tile[${this.expr(index)}]`;
    return this.kernel.sharedAtomics
      ? `atomicStore(&${place}, ${this.expr(value)});`
      : `${place} = ${this.expr(value)};`;
  }

  private count({ op, name, ...one }: Extract<VmStatement, { kind: 'count' }>): string {
    const place = `&counts[${this.expr(one.index)}]`;
    const value = this.expr(one.value);
    const gets = name === undefined ? '' : `${name} = `;
    if (op === 'load') return `${gets}atomicLoad(${place});`;
    if (op === 'cas') {
      const call = `atomicCompareExchangeWeak(${place}, ${this.expr(one.compare!)}, ${value})`;
      return `${name ?? '_'} = ${call}.old_value;`;
    }
    return `${gets}atomic${op[0]!.toUpperCase()}${op.slice(1)}(${place}, ${value});`;
  }

  private uniform({ name, value }: Extract<VmStatement, { kind: 'uniform' }>): string {
    const text = this.expr(value);
    if (this.prefix === 'vm_') return `${name} = vm_uniform(${text});`;
    return `if (lid == 0u) { raw_shown = ${text}; } ${name} = workgroupUniformLoad(&raw_shown);`;
  }

  private barrier(storage: boolean): string {
    if (this.prefix === 'raw_') {
      return storage ? 'storageBarrier(); workgroupBarrier();' : 'workgroupBarrier();';
    }
    return `if (!vm_${storage ? 'storage_' : ''}barrier()) { return; }`;
  }

  private expr(one: VmExpr): string {
    switch (one.kind) {
      case 'const':
        return `${one.value}u`;
      case 'float':
        return `f32(${one.value})`;
      case 'var':
        return one.name;
      case 'id':
        return one.which;
      case 'arg':
        return `${this.prefix}arg(${one.index}u)`;
      case 'binary':
        if (one.op === 'min' || one.op === 'max') {
          return `${one.op}(${this.expr(one.a)}, ${this.expr(one.b)})`;
        }
        return `(${this.expr(one.a)} ${one.op} ${this.expr(one.b)})`;
      case 'fbinary':
        return `(${this.expr(one.a)} ${one.op} ${this.expr(one.b)})`;
      case 'convert':
        return `${one.to}(${this.expr(one.a)})`;
      case 'select':
        return `select(${this.expr(one.b)}, ${this.expr(one.a)}, ${this.expr(one.c)})`;
      case 'shared': {
        const place = `tile[${this.expr(one.index)}]`;
        return this.kernel.sharedAtomics ? `atomicLoad(&${place})` : place;
      }
      case 'lane':
        return `${one.name}.${'xyzw'[one.index]!}`;
    }
  }
}

function suffix(width: string): string {
  return width === 'u32' ? '' : `_${width}`;
}
