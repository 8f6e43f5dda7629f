/*
 * The kernels' interface as data: which kernel binds what, and the layout of each structure that
 * the host shares with WGSL. test/gpu/abi.test.ts compares this page with the shaders, by
 * reflection and by running a probe, so neither can drift.
 *
 * Rules. All fields are u32; a 64-bit value would be a low and a high word; reserved words are
 * zero.
 */
import {
  BATCH_FIRST_RESULT,
  BATCH_GRID_WIDTH,
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_OTHER,
  JOB_WORDS,
  STATUS_FIRST_BAD,
  STATUS_FLAGS,
  STATUS_WORDS,
} from '../engine/kernel-abi.ts';

/** Names of the kernels; each is a file in shaders/ and a CPU twin in src/engine/kernels/. */
export type KernelName =
  | 'copy-pages'
  | 'gather-pages'
  | 'scatter-pages'
  | 'clear-pages'
  | 'checksum-pages'
  | 'add-words';

/** How a kernel uses a binding. */
export type BindingAccess = 'read' | 'read_write';

/** What one kernel binds beyond what all of them do (`status`, `batch`). */
export interface KernelInterface {
  readonly entryPoint: string;
  readonly arena: BindingAccess;
  /** Name and access of binding 3, where the kernel has one. */
  readonly extra?: { readonly name: 'bounce' | 'sums'; readonly access: BindingAccess };
}

/** The kernels. */
export const KERNELS: Readonly<Record<KernelName, KernelInterface>> = {
  'copy-pages': { entryPoint: 'copy_pages', arena: 'read_write' },
  'gather-pages': {
    entryPoint: 'gather_pages',
    arena: 'read',
    extra: { name: 'bounce', access: 'read_write' },
  },
  'scatter-pages': {
    entryPoint: 'scatter_pages',
    arena: 'read_write',
    extra: { name: 'bounce', access: 'read' },
  },
  'clear-pages': { entryPoint: 'clear_pages', arena: 'read_write' },
  'checksum-pages': {
    entryPoint: 'checksum_pages',
    arena: 'read',
    extra: { name: 'sums', access: 'read_write' },
  },
  'add-words': { entryPoint: 'add_words', arena: 'read_write' },
};

/** Bind group and binding of each resource, the same in every kernel. */
export const BINDINGS = {
  arena: { group: 0, binding: 0 },
  status: { group: 0, binding: 1 },
  batch: { group: 0, binding: 2 },
  bounce: { group: 0, binding: 3 },
  sums: { group: 0, binding: 3 },
} as const;

/** Names of the `override` constants. */
export const OVERRIDES = ['lanes', 'page_lanes'] as const;

/** Byte offsets of the fields of each shared structure, and its size or array stride. */
export const STRUCTS = {
  PageJob: { size: JOB_WORDS * 4, fields: { frame: JOB_FRAME * 4, other: JOB_OTHER * 4 } },
  JobBatch: {
    // Without the jobs, whose number is the buffer's.
    size: BATCH_HEADER_WORDS * 4,
    fields: {
      job_count: BATCH_JOB_COUNT * 4,
      grid_width: BATCH_GRID_WIDTH * 4,
      first_result: BATCH_FIRST_RESULT * 4,
      reserved: 12,
      jobs: BATCH_HEADER_WORDS * 4,
    },
  },
  Status: {
    size: STATUS_WORDS * 4,
    fields: {
      flags: STATUS_FLAGS * 4,
      first_bad: STATUS_FIRST_BAD * 4,
      reserved_0: 8,
      reserved_1: 12,
    },
  },
  // What a page consists of in the view of software adapters; in that of GPUs it is a vec4u.
  Unit: { size: 64, fields: { a: 0, b: 16, c: 32, d: 48 } },
} as const;

/** Bytes of a page's unit in the view of GPUs. */
export const PART_BYTES = 16;
