/*
 * Names for the words of the control block, so that schedules can be read and the explorer knows
 * whose words they are.
 */
import {
  CORE_LETTER_CHARS,
  CORE_NUDGE,
  CORE_REPLY,
  CORE_REQUEST,
  CORE_RESULT,
  CORE_RING_DROPPED,
  CORE_RING_HEAD,
  CORE_RING_TAIL,
  CORE_SIGNAL,
  CORE_STATUS,
  CORE_TLB_FLUSHES,
  CORE_TLB_MISSES,
  CORE_TRAPS,
  ControlMap,
  DOORBELL,
} from '../../src/cpu/control.ts';

const RECORD_WORDS = 8;
/** Records of each ring in explorations. */
export const RING_RECORDS = 2;

/**
 * Gives control words their places. Its memory is never used: the words that actors share are the
 * explorer's.
 */
export const controlMap = ControlMap.create(RING_RECORDS);

const BLOCK = new Map([
  [CORE_STATUS, 'status'],
  [CORE_REQUEST, 'request'],
  [CORE_NUDGE, 'nudge'],
  [CORE_SIGNAL, 'signal'],
  [CORE_REPLY, 'reply'],
  [CORE_RESULT, 'result'],
  [CORE_TRAPS, 'traps'],
  [CORE_TLB_MISSES, 'tlb misses'],
  [CORE_TLB_FLUSHES, 'tlb flushes'],
  [CORE_RING_HEAD, 'ring head'],
  [CORE_RING_TAIL, 'ring tail'],
  [CORE_RING_DROPPED, 'ring dropped'],
  [CORE_LETTER_CHARS, 'letter'],
]);

/** Words that only the kernel writes, of the header and of a core's block. */
const OF_KERNEL = new Set(['ring tail', 'request', 'signal', 'reply', 'result']);
/** Words that only their core writes, and it alone reads. */
const COUNTERS = new Set(['tlb misses', 'tlb flushes']);

export interface WordName {
  readonly name: string;
  /** Without the core it belongs to. */
  readonly field: string;
}

const names = new Map<number, WordName>();

/** The name of a control word. */
export function controlWord(at: number): WordName {
  let found = names.get(at);
  if (found === undefined) {
    found = findName(at);
    names.set(at, found);
  }
  return found;
}

function findName(at: number): WordName {
  if (at === DOORBELL) return { name: 'doorbell', field: 'doorbell' };
  for (let slot = 0; slot < 2; slot++) {
    const field = BLOCK.get(at - controlMap.block(slot));
    if (field !== undefined) return { name: `core ${slot} ${field}`, field };
    for (let record = 0; record < RING_RECORDS; record++) {
      const word = at - controlMap.record(slot, record);
      if (word < 0 || word >= RECORD_WORDS) continue;
      const name = `core ${slot} record ${record} word ${word}`;
      return { name, field: word < 2 ? 'record' : 'payload' };
    }
  }
  // Words that have nothing to do with shootdown and traps.
  return { name: `control word ${at}`, field: 'other' };
}

export function isKernelWord(word: WordName): boolean {
  return OF_KERNEL.has(word.field);
}

export function isCounter(word: WordName): boolean {
  return COUNTERS.has(word.field);
}

export function isRingWord(word: WordName): boolean {
  return word.field === 'record' || word.field === 'payload' || word.field.startsWith('ring');
}
