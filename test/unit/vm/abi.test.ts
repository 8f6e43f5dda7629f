/*
 * The host's numbers (src/engine/vm/abi.ts) against the prelude's text, and the prelude's use of
 * names against what kernels may not declare.
 */
import { describe, expect, it } from 'vitest';
import * as abi from '../../../src/engine/vm/abi.ts';
import { PRELUDE_USES, PUBLIC_NAMES } from '../../../src/gpu/vm/public-names.ts';
import { layoutOf, VM_PARTS } from '../../../src/gpu/vm/vm-source.ts';

const text = Object.values(VM_PARTS)
  .join('\n')
  .replaceAll(/\/\/.*/g, '');

describe('constants', () => {
  it('are the same on both sides', () => {
    const found = new Map<string, number>();
    for (const [, name, value] of VM_PARTS['abi']!.matchAll(/^const (\w+): u32 = (\w+)u;$/gm)) {
      found.set(name!, Number(value));
    }
    expect(Object.fromEntries(found)).toEqual({
      VM_PTE_BLOCK: abi.PTE_BLOCK,
      VM_PTE_KILLS: Math.log2(abi.PTE_KILL_READ),
      VM_PTE_NEVER: abi.PTE_NEVER,
      VM_PTE_PERMISSIONS: abi.PTE_ALL,
      VM_READ: abi.ACCESS_READ,
      VM_WRITE: abi.ACCESS_WRITE,
      VM_ATOMIC: abi.ACCESS_ATOMIC,
      VM_PREFETCH: abi.ACCESS_PREFETCH,
      VM_PREFETCH_WRITE: abi.ACCESS_PREFETCH_WRITE,
      VM_FAULT_ABSENT: abi.FAULT_ABSENT,
      VM_FAULT_PERMISSION: abi.FAULT_PERMISSION,
      VM_FAULT_FORCED: abi.FAULT_FORCED,
      VM_FAULT_WORDS: abi.FAULT_WORDS,
      VM_FAULTS: abi.CONTROL_FAULTS,
      VM_STOPPED: abi.CONTROL_STOPPED,
      VM_LOG_FULL: abi.CONTROL_LOG_FULL,
      VM_ENDLESS: abi.CONTROL_ENDLESS,
      VM_DIVERGED: abi.CONTROL_DIVERGED,
      VM_KILLED: abi.CONTROL_KILLED,
      VM_PROGRESS: abi.CONTROL_PROGRESS,
      VM_CHECKED: abi.CONTROL_CHECKED,
      VM_SLOT_STOPPED: abi.SLOT_STOPPED,
      VM_SLOT_LOG_FULL: abi.SLOT_LOG_FULL,
      VM_SLOT_ENDLESS: abi.SLOT_ENDLESS,
      VM_SLOT_KILLED: abi.SLOT_KILLED,
      VM_SLOT_DIVERGED: abi.SLOT_DIVERGED,
      VM_STATUS_AT: abi.CONTROL_HEADER_WORDS,
      VM_USE_FRAMES: abi.CONTROL_USE_FRAMES,
      VM_USE_KINDS: abi.USE_KINDS,
      VM_STATE_WORDS: abi.STATE_WORDS,
      VM_CHECK_WORDS: abi.CHECK_WORDS,
      VM_STATE_DONE: abi.STATE_DONE,
      VM_STATE_LOGGED: abi.STATE_LOGGED,
      VM_STATE_HASH: abi.STATE_HASH,
      VM_STATE_WHY: abi.STATE_WHY,
      VM_WHY_ENDLESS: abi.WHY_ENDLESS,
      VM_WHY_LOG_FULL: abi.WHY_LOG_FULL,
      VM_FLAG_MEETS: abi.FLAG_MEETS,
      VM_FLAG_DEDUP: abi.FLAG_DEDUP,
      VM_FLAG_FORCE: abi.FLAG_FORCE,
      VM_FLAG_COUNTS: abi.FLAG_COUNTS,
    });
  });

  it('an access is the number of its permission bit and of its refusal bit', () => {
    expect([1 << abi.ACCESS_READ, 1 << abi.ACCESS_WRITE, 1 << abi.ACCESS_ATOMIC]).toEqual([
      abi.PTE_READ,
      abi.PTE_WRITE,
      abi.PTE_ATOMIC,
    ]);
    expect(abi.PTE_KILL_READ << abi.ACCESS_ATOMIC).toBe(abi.PTE_KILL_ATOMIC);
    const flags = abi.PTE_ALL | abi.PTE_BLOCK | abi.PTE_NEVER;
    expect((flags | abi.PTE_KILL_READ | abi.PTE_KILL_WRITE | abi.PTE_KILL_ATOMIC) + 1).toBe(
      1 << abi.PTE_FRAME_SHIFT,
    );
  });

  it('parameters lie where the structure has them', () => {
    const fields = /struct VmParams \{([^}]*)\}/.exec(text)![1]!.match(/\w+(?=:)/g)!;
    expect(fields.indexOf('context')).toBe(abi.PARAM_CONTEXT);
    expect(fields.indexOf('first')).toBe(abi.PARAM_FIRST);
    expect(fields.indexOf('count')).toBe(abi.PARAM_COUNT);
    expect(fields.indexOf('width')).toBe(abi.PARAM_WIDTH);
    expect(fields.indexOf('log_words')).toBe(abi.PARAM_LOG_WORDS);
    expect(fields.indexOf('budget')).toBe(abi.PARAM_BUDGET);
    expect(fields.indexOf('force_at')).toBe(abi.PARAM_FORCE_AT);
    expect(fields.indexOf('flags')).toBe(abi.PARAM_FLAGS);
    expect(fields.indexOf('lanes')).toBe(abi.PARAM_LANES);
    expect(fields.indexOf('slots')).toBe(abi.PARAM_SLOTS);
    expect(fields.indexOf('ring_records')).toBe(abi.PARAM_RING_RECORDS);
    expect(fields.indexOf('uses_frame')).toBe(abi.PARAM_USES_FRAME);
    expect(fields.indexOf('args')).toBe(abi.PARAM_HEADER_WORDS);
    expect(text).toContain(`args: array<vec4u, ${abi.PARAM_ARGUMENTS / 4}>`);
  });

  it('the parts of the control block lie one behind the other', () => {
    const layout = layoutOf(64, 10, 3);
    expect(layout.statusAt).toBe(abi.CONTROL_HEADER_WORDS);
    expect(layout.ringAt).toBe(layout.statusAt + 10);
    expect(layout.usesAt).toBe(layout.ringAt + 3 * abi.FAULT_WORDS);
    expect(layout.pendingAt).toBe(layout.usesAt + 64 * 3);
    // Two bits for each page of 4 GiB.
    expect(layout.controlWords - layout.pendingAt).toBe((2 ** 20 * 2) / 32);
    expect(layout.logsAt).toBe(10 + 10 * 64 * abi.STATE_WORDS);
  });
});

describe('names', () => {
  const defined = new Set([...text.matchAll(/\bfn (\w+)/g)].map((match) => match[1]!));

  it('every public function is in the prelude', () => {
    expect([...PUBLIC_NAMES.keys()].filter((name) => !defined.has(name))).toEqual([]);
  });

  it('everything that the prelude calls is its own or protected', () => {
    const called = new Set([...text.matchAll(/\b([a-z]\w*)[(<]/gi)].map((match) => match[1]!));
    const words = new Set([
      'if',
      'switch',
      'return',
      'fn',
      'kernel',
      // Made with the kernel (shared-atomics.ts).
      'vm_put_aside',
      'vm_put_back',
      'group',
      'binding',
      'builtin',
      'var',
    ]);
    const compared = new Set(['done', 'page', 'workgroup_size']);
    const open = [...called].filter(
      (name) =>
        !defined.has(name) &&
        !PRELUDE_USES.has(name) &&
        !words.has(name) &&
        !compared.has(name) &&
        !name.startsWith('VM_'),
    );
    expect(open).toEqual([]);
    const types = new Set([...text.matchAll(/: (\w+)/g)].map((match) => match[1]!));
    const odd = [...types].filter((name) => !PRELUDE_USES.has(name) && !/^Vm[A-Z]/.test(name));
    expect(odd).toEqual([]);
  });
});
