/*
 * Puts a checked kernel and the prelude together: the constants of a variant, the prelude's parts,
 * the kernel, the entry point. All variants are one text with other constants; the compiler drops
 * what a constant switches off.
 *
 * Locking. None; pure. Source: our own.
 */
import abi from '../../../shaders/vm/abi.wgsl?raw';
import arenaAtomic from '../../../shaders/vm/arena-atomic.wgsl?raw';
import arenaPlain from '../../../shaders/vm/arena-plain.wgsl?raw';
import atomics from '../../../shaders/vm/atomics.wgsl?raw';
import barrier from '../../../shaders/vm/barrier.wgsl?raw';
import bindings from '../../../shaders/vm/bindings.wgsl?raw';
import checkpoint from '../../../shaders/vm/checkpoint.wgsl?raw';
import collect from '../../../shaders/vm/collect.wgsl?raw';
import effects from '../../../shaders/vm/effects.wgsl?raw';
import mainBarrier from '../../../shaders/vm/main-barrier.wgsl?raw';
import mainFree from '../../../shaders/vm/main-free.wgsl?raw';
import mainShared from '../../../shaders/vm/main-shared.wgsl?raw';
import memory from '../../../shaders/vm/memory.wgsl?raw';
import shared from '../../../shaders/vm/shared.wgsl?raw';
import walk from '../../../shaders/vm/walk.wgsl?raw';
import {
  CHECK_WORDS,
  CONTROL_HEADER_WORDS,
  CONTROL_PENDING_WORDS,
  CONTROL_USE_FRAMES,
  FAULT_WORDS,
  STATE_WORDS,
  USE_KINDS,
} from '../../engine/vm/abi.ts';
import { linkShader } from '../shader-link.ts';
import type { CheckedKernel } from './check-kernel.ts';

/** The prelude's parts, for the test that compares constants with the host's. */
export const VM_PARTS: Readonly<Record<string, string>> = {
  abi,
  'arena-atomic': arenaAtomic,
  'arena-plain': arenaPlain,
  atomics,
  barrier,
  bindings,
  checkpoint,
  collect,
  effects,
  'main-barrier': mainBarrier,
  'main-free': mainFree,
  'main-shared': mainShared,
  memory,
  shared,
  walk,
};

/** Where things lie in the control block and in the memo, in words. */
export interface VmLayout {
  readonly lanes: number;
  readonly slots: number;
  readonly ringRecords: number;
  readonly statusAt: number;
  readonly ringAt: number;
  /** Where uses of frames are counted. */
  readonly usesAt: number;
  readonly pendingAt: number;
  readonly controlWords: number;
  /**
   * Where checkpoints begin in the memo, behind the slots' flags and states, then words of
   * workgroup memory that were put aside, so many for a slot, and then logs.
   */
  readonly checksAt: number;
  readonly sharedAt: number;
  readonly sharedWords: number;
  readonly logsAt: number;
}

/** What is switched on in a variant. */
export interface VmVariant {
  readonly replay: boolean;
  readonly log: boolean;
  /** Invocations go on past a full log. */
  readonly unlogged: boolean;
  /** Effects kept back. */
  readonly kept: number;
  readonly hash: boolean;
  readonly force: boolean;
  /** Uses of some frames are counted. */
  readonly uses: boolean;
}

/** Compilable text, and where the kernel is in it. */
export interface VmSource {
  readonly code: string;
  /** Lines before the kernel's first. */
  readonly linesBefore: number;
  readonly kernel: CheckedKernel;
}

/** Lays out the control block and the memo. */
export function layoutOf(
  lanes: number,
  slots: number,
  ringRecords: number,
  checks = false,
  sharedWords = 0,
): VmLayout {
  const statusAt = CONTROL_HEADER_WORDS;
  const ringAt = statusAt + slots;
  const usesAt = ringAt + ringRecords * FAULT_WORDS;
  const pendingAt = usesAt + CONTROL_USE_FRAMES * USE_KINDS;
  const controlWords = pendingAt + CONTROL_PENDING_WORDS;
  const checksAt = slots + slots * STATE_WORDS * lanes;
  const sharedAt = checksAt + (checks ? slots * CHECK_WORDS * lanes : 0);
  const logsAt = sharedAt + slots * sharedWords;
  const memo = { checksAt, sharedAt, sharedWords, logsAt };
  const at = { statusAt, ringAt, usesAt, pendingAt, controlWords, ...memo };
  return { lanes, slots, ringRecords, ...at };
}

/** The text of a kernel's variant. */
export function vmSource(kernel: CheckedKernel, layout: VmLayout, variant: VmVariant): VmSource {
  const { meets, atomic, checks } = kernel.order;
  const before = [
    `const VM_LANES: u32 = ${layout.lanes}u;`,
    `const VM_SLOTS: u32 = ${layout.slots}u;`,
    `const VM_LOGS_AT: u32 = ${layout.logsAt}u;`,
    `const VM_CHECKS_AT: u32 = ${layout.checksAt}u;`,
    `const VM_SHARED_AT: u32 = ${layout.sharedAt}u;`,
    `const VM_SHARED_WORDS: u32 = ${layout.sharedWords}u;`,
    `const VM_REPLAY: bool = ${variant.replay};`,
    `const VM_LOG: bool = ${variant.log};`,
    `const VM_UNLOGGED: bool = ${variant.unlogged};`,
    `const VM_DEFER: u32 = ${variant.kept}u;`,
    `const VM_HASH: bool = ${variant.hash};`,
    `const VM_FORCE: bool = ${variant.force};`,
    `const VM_USES: bool = ${variant.uses};`,
    `const VM_USES_AT: u32 = ${layout.usesAt}u;`,
    abi,
    bindings,
    atomic ? arenaAtomic : arenaPlain,
    walk,
    effects,
    memory,
    ...(atomic ? [atomics] : []),
    ...(meets ? [barrier] : []),
    ...(checks ? [checkpoint] : []),
    ...(kernel.shared === null ? [] : [shared]),
  ].join('\n');
  const main = meets ? mainBarrier : mainFree;
  const behind = kernel.shared === null ? main : `${kernel.shared.text}\n${mainShared}`;
  const code = `${before}\n${kernel.guarded}\n${behind}`;
  return { code, linesBefore: before.split('\n').length, kernel };
}

/** The text of the pass that collects stops. */
export function collectSource(): string {
  return linkShader('vm/collect', collect, VM_PARTS).code;
}
