/*
 * The access trace of a kernel that the page's own GPU runs. No GPU tells what a kernel touches, so
 * the kernel does: its calls are replaced by ones that write a page's number and the kind of the
 * access into a log beside its arrays before they do the same. With room for everything, and run
 * for real, that is what each invocation touches, in its order.
 */
import {
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  plainRegion,
  TraceWriter,
} from '../../src/index.ts';
import type { AccessTrace } from '../../src/index.ts';

/** Words of an invocation's log, tried one after the other until all logs suffice. */
export const LOG_SIZES = [16, 64, 256] as const;

/** In place of an access: a barrier. */
const MEETING = 7;

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

/**
 * A kernel that writes down what it touches. Lines keep their numbers.
 *
 * @param arrays its arrays: their length is the argument behind them, and the log's address the one
 * behind that
 * @param logWords words of log of each invocation
 * @returns its text, or null for one that has no kernel function as the check wants it
 */
export function recording(wgsl: string, arrays: number, logWords: number): string | null {
  const entry = /fn\s+kernel\s*\(\s*(\w+)\s*:\s*u32\s*,\s*(\w+)\s*:\s*u32\s*,?\s*\)\s*\{/;
  if (!entry.test(wgsl)) return null;
  const used = new Set<string>();
  const body = wgsl
    .replaceAll(/\bvm_(\w+)(?=\s*\()/g, (whole, name: string) => {
      if (!CALLS.has(name)) return whole;
      used.add(name);
      return `rec_${name}`;
    })
    .replaceAll(/\bif\s*\(\s*!\s*vm_(storage_)?barrier\b/g, 'rec_meet(); $&')
    .replace(entry, `$& rec_log = vm_arg(${arrays + 1}u) + ($1 * 64u + $2) * ${logWords * 4}u;`);
  return `${body}\n${NOTES.replaceAll('WORDS', `${logWords}u`)}${[...used].map(wrapper).join('')}`;
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
  rec_write(${MEETING + 1}u);
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
      if (access === MEETING) writer.barrier();
      else if (page < pages) writer.touch(page, access);
    }
  }
  return writer.finish();
}
