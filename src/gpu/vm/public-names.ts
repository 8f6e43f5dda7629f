/*
 * What the prelude offers to kernels, and what each operation does to exactly-once.
 */

/** How an operation behaves. */
export interface VmOperation {
  /**
   * `load` gives a value and has no effect; `effect` has one and gives nothing; `both` does both;
   * `hint` may be done or not; `meet` is a barrier; `plain` is nothing of this kind.
   */
  readonly does: 'load' | 'effect' | 'both' | 'hint' | 'meet' | 'plain';
  /** Words that its result takes in the log. */
  readonly logs: number;
  /** Needs an arena of atomics. */
  readonly atomic: boolean;
  /** An effect that can be kept back to the end. */
  readonly deferrable: boolean;
}

const REDUCTIONS = ['add', 'sub', 'min', 'max', 'and', 'or', 'xor'];

function operation(
  does: VmOperation['does'],
  logs = 0,
  atomic = false,
  deferrable = false,
): VmOperation {
  return { does, logs, atomic, deferrable };
}

/** Every name of the prelude that a kernel may use. */
export const PUBLIC_NAMES: ReadonlyMap<string, VmOperation> = new Map([
  ['vm_arg', operation('plain')],
  ['vm_restore', operation('plain')],
  ['vm_checkpoint', operation('plain')],
  ['vm_uniform', operation('meet')],
  ['vm_barrier', operation('meet')],
  ['vm_storage_barrier', operation('meet')],
  ['vm_load', operation('load', 1)],
  ['vm_load_f32', operation('load', 1)],
  ['vm_load_byte', operation('load', 1)],
  ['vm_load_vec4', operation('load', 4)],
  ['vm_store', operation('effect', 0, false, true)],
  ['vm_store_f32', operation('effect', 0, false, true)],
  ['vm_store_vec4', operation('effect')],
  ['vm_store_byte', operation('effect', 0, true)],
  ['vm_prefetch', operation('hint')],
  ['vm_prefetch_write', operation('hint')],
  ['vm_atomic_exchange', operation('both', 1, true)],
  ['vm_atomic_cas', operation('both', 1, true)],
  ...REDUCTIONS.flatMap((name): [string, VmOperation][] => [
    [`vm_atomic_${name}`, operation('both', 1, true)],
    [`vm_reduce_${name}`, operation('effect', 0, true, true)],
  ]),
]);

/** The same for people. */
export const PUBLIC_LIST =
  'vm_arg, vm_load and vm_store (also _f32, _vec4, _byte), vm_atomic_add and vm_reduce_add ' +
  '(also sub, min, max, and, or, xor), vm_atomic_exchange, vm_atomic_cas, vm_barrier, ' +
  'vm_storage_barrier, vm_uniform, vm_prefetch, vm_prefetch_write, vm_restore, vm_checkpoint';

/** Built-in functions that a kernel must not call, with what to use instead. */
export const REFUSED_BUILTINS: ReadonlyMap<string, string> = new Map([
  ['workgroupBarrier', 'write if (!vm_barrier()) { return; }'],
  ['storageBarrier', 'write if (!vm_storage_barrier()) { return; }'],
  ['textureBarrier', 'kernels have no textures'],
  ['workgroupUniformLoad', 'use vm_uniform()'],
]);

/** Prefixes of built-ins that mix invocations, stopped ones among them. */
export const REFUSED_PREFIXES: readonly string[] = ['subgroup', 'quad'];

/**
 * Predeclared names that the prelude uses. A kernel that declared one of them at module scope would
 * change what the prelude means (own-names.ts).
 */
export const PRELUDE_USES: ReadonlySet<string> = new Set([
  'array',
  'atomic',
  'atomicAdd',
  'atomicAnd',
  'atomicCompareExchangeWeak',
  'atomicExchange',
  'atomicLoad',
  'atomicMax',
  'atomicMin',
  'atomicOr',
  'atomicStore',
  'atomicSub',
  'atomicXor',
  'bitcast',
  'bool',
  'f32',
  'i32',
  'max',
  'private',
  'read',
  'read_write',
  'select',
  'storage',
  'storageBarrier',
  'u32',
  'uniform',
  'vec2u',
  'vec3u',
  'vec4u',
  'workgroup',
  'workgroupUniformLoad',
]);
