/*
 * The access trace of a kernel that a GPU runs. No GPU tells what a kernel touches, so the kernel
 * does: its calls are replaced by ones that write a page's number and the kind of the access into a
 * log beside its memory before they do the same. Run for real, that is what each invocation
 * touches, in its order.
 *
 * Locking. None; pure. Source: our own.
 *
 * Leaves out: kernels with checkpoints: an invocation that goes on from one has forgotten how far
 * its log is.
 */
import { plainBlanks, withoutComments } from '../engine/vm/kernel-text.ts';
import { BARRIER, plainRegion, TraceWriter } from './policy/access-trace.ts';
import type { AccessTrace } from './policy/access-trace.ts';
import { ACCESS_ATOMIC, ACCESS_PREFETCH, ACCESS_READ, ACCESS_WRITE } from './policy/policy.ts';

type Signature = readonly [access: number, parameters: readonly string[], result: string | null];

const VALUES = { '': 'u32', _f32: 'f32', _byte: 'u32', _vec4: 'vec4u' } as const;
const REDUCTIONS = ['add', 'sub', 'min', 'max', 'and', 'or', 'xor'];

/** Calls that touch memory, without their prefix. */
const CALLS: ReadonlyMap<string, Signature> = new Map<string, Signature>([
  ...Object.entries(VALUES).flatMap(([kind, type]): [string, Signature][] => [
    [`load${kind}`, [ACCESS_READ, [], type]],
    [`store${kind}`, [ACCESS_WRITE, [type], null]],
  ]),
  ...REDUCTIONS.flatMap((name): [string, Signature][] => [
    [`atomic_${name}`, [ACCESS_ATOMIC, ['u32'], 'u32']],
    [`reduce_${name}`, [ACCESS_ATOMIC, ['u32'], null]],
  ]),
  ['atomic_exchange', [ACCESS_ATOMIC, ['u32'], 'u32']],
  ['atomic_cas', [ACCESS_ATOMIC, ['u32', 'u32'], 'u32']],
  ['prefetch', [ACCESS_PREFETCH, [], null]],
  ['prefetch_write', [ACCESS_PREFETCH, [], null]],
]);

/** Where the logs of a recording kernel are. */
export interface RecordingLogs {
  /** The argument that is their address; argument 0 is that of the memory, whose pages count. */
  readonly argument: number;
  /** Words of each invocation's log. */
  readonly words: number;
  /** Invocations of a workgroup. */
  readonly lanes: number;
}

/**
 * A kernel that writes down what it touches. Lines keep their numbers.
 *
 * @returns its text, or why there is none
 *
 * Context: pure. Source: our own.
 */
export function recordingKernel(
  wgsl: string,
  { argument, words, lanes }: RecordingLogs,
): { readonly wgsl: string } | { readonly reason: string } {
  const entry = /fn\s+kernel\s*\(\s*(\w+)\s*:\s*u32\s*,\s*(\w+)\s*:\s*u32\s*,?\s*\)\s*\{/;
  // What a comment says is no call, and none hides in the middle of one.
  const code = withoutComments(plainBlanks(wgsl));
  if (typeof code === 'number') return { reason: 'a comment has no end' };
  if (!entry.test(code)) return { reason: 'there is no fn kernel(wg: u32, lid: u32)' };
  if (/\bvm_(restore|checkpoint)\s*\(/.test(code)) {
    return { reason: 'a kernel with checkpoints can not be recorded' };
  }
  const used = new Set<string>();
  const body = code
    .replaceAll(/\bvm_(\w+)(?=\s*\()/g, (whole, name: string) => {
      if (!CALLS.has(name)) return whole;
      used.add(name);
      return `rec_${name}`;
    })
    .replaceAll(/\bif[\s(]*!\s*\(*\s*vm_(storage_)?barrier\b/g, 'rec_meet(); $&')
    .replace(entry, `$& rec_log = vm_arg(${argument}u) + ($1 * ${lanes}u + $2) * ${words * 4}u;`);
  const notes = NOTES.replaceAll('WORDS', `${words}u`);
  return { wgsl: `${body}\n${notes}${[...used].map(wrapper).join('')}` };
}

const NOTES = `
var<private> rec_log: u32;
var<private> rec_count: u32;
var<private> rec_last: u32;

fn rec_write(what: u32) {
  if (what == rec_last) { return; }
  rec_last = what;
  if (rec_count < WORDS) {
    vm_store(rec_log + rec_count * 4u, what);
  }
  rec_count += 1u;
}

fn rec_note(va: u32, access: u32) {
  rec_write((((va >> 12u) - (vm_arg(0u) >> 12u)) << 3u) + access + 1u);
}

fn rec_meet() {
  rec_last = 0u;
  rec_write(${BARRIER + 1}u);
  rec_last = 0u;
}
`;

function wrapper(name: string): string {
  const [access, parameters, result] = CALLS.get(name)!;
  const names = parameters.map((_, i) => `v${i}`);
  const types = parameters.map((type, i) => `, v${i}: ${type}`).join('');
  const call = `vm_${name}(${['va', ...names].join(', ')});`;
  const arrow = result === null ? '' : ` -> ${result}`;
  return `
fn rec_${name}(va: u32${types})${arrow} {
  rec_note(va, ${access}u);
  ${result === null ? '' : 'return '}${call}
}
`;
}

/**
 * Makes a trace of logs.
 *
 * @param logs of all invocations, one behind the other
 * @param pages of the arrays: accesses elsewhere were refused, and are left out
 * @returns null where a log was too short
 *
 * Context: pure. Source: our own.
 */
export function traceOfLogs(
  name: string,
  logs: Uint32Array,
  logWords: number,
  lanes: number,
  pages: number,
): AccessTrace | null {
  const writer = new TraceWriter(name, [plainRegion(0, pages)]);
  for (let lane = 0; lane * logWords < logs.length; lane++) {
    const log = logs.subarray(lane * logWords, (lane + 1) * logWords);
    if (log[logWords - 1] !== 0) return null;
    writer.lane(lane % lanes === 0);
    for (const word of log.subarray(0, log.indexOf(0))) {
      const [page, access] = [(word - 1) >>> 3, (word - 1) & 7];
      if (access === BARRIER) writer.barrier();
      else if (page < pages) writer.touch(page, access);
    }
  }
  return writer.finish();
}
