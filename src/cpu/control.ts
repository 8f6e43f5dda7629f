/**
 * The memory through which cores and the kernel talk: a header, and for each core a block of words,
 * a ring of traps and hints, and a letter box. A word has one writer, and words of different
 * writers are in different cache lines.
 *
 * A core's status is one word, so that the kernel can sleep on it: which flush the core has
 * acknowledged, and whether it runs. Our own.
 */

/** Most cores that a machine can have. */
export const MAX_CORES = 64;

/** The core's slot is free. */
export const CORE_FREE = 0;
/** It may be using translations. */
export const CORE_RUNNING = 1;
/** It uses none until it has looked for requests again: it is blocked, or computes. */
export const CORE_PARKED = 2;
/** Its thread is known to have ended. */
export const CORE_DEAD = 3;

const STATE_BITS = 2;
const STATE_MASK = (1 << STATE_BITS) - 1;
/** Numbers of flushes wrap around; no two that are compared are that far apart. */
const REQUEST_MASK = 2 ** 29 - 1;

/** Words of a core's block, relative to its start. */
const BLOCK_WORDS = 64;
/** Written by the core (and by its host when it has died). */
export const CORE_STATUS = 0;
/** Written by the kernel. */
export const CORE_REQUEST = 16;
export const CORE_SIGNAL = 17;
/** Number of the last trap that was answered, and the answer. */
export const CORE_REPLY = 18;
export const CORE_RESULT = 19;
/** Next record of the core's ring to be read. */
export const CORE_RING_TAIL = 20;
/** FAULT_* kind of the fault that was answered. */
export const CORE_FAULT_KIND = 21;
/**
 * NUDGED from when the kernel has made a request until the core looks for it, and again once the
 * core was told to end; else 0; written by both. With the word before it, which stays 0, it is the
 * number NaN or 0: each access adds it to the address that it looks for in the TLB, and NaN is
 * equal to no tag.
 */
export const CORE_NUDGE = 23;
/** Upper half of NaN. */
export const NUDGED = 0x7ff8_0000;
/** Written by the core: number of its last trap, counters, lines printed. */
export const CORE_TRAPS = 32;
export const CORE_TLB_MISSES = 33;
export const CORE_TLB_FLUSHES = 34;
/** Next record of its ring to be written; records dropped because the ring was full. */
export const CORE_RING_HEAD = 35;
export const CORE_RING_DROPPED = 36;
export const CORE_PRINTED = 37;
/** Written by the core's host: lines that it has heard of. */
export const CORE_HEARD = 40;
/** Length of the text in the core's letter box, written by whoever wrote the text. */
export const CORE_LETTER_CHARS = 48;
/** 1 from when the core has rung its doorbell until the kernel looks; written by both. */
export const CORE_RUNG = 49;
/** Whether the program may run, decided once: see CORE_MAY_RUN. Written by core and host. */
export const CORE_PERMIT = 50;
/** The thread has begun to run the program. */
export const CORE_MAY_RUN = 1;
/** The host has ended the thread before that: it will never run the program. */
export const CORE_MAY_NOT = 2;

/** Words of the header. */
const HEADER_WORDS = 64;
/** Counts rings of the doorbell; the kernel sleeps on it. */
export const DOORBELL = 0;

/** UTF-16 units of a letter box: arguments and result of a system call, as text. */
export const LETTER_CHARS = 8192;

/** Words of a record of a ring. */
const RECORD_WORDS = 8;

/** Where everything is, for rings of that many records. */
export class ControlMap {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly chars: Uint16Array<SharedArrayBuffer>;
  readonly ringCapacity: number;

  private constructor(buffer: SharedArrayBuffer, ringCapacity: number) {
    this.words = new Int32Array(buffer);
    this.chars = new Uint16Array(buffer);
    this.ringCapacity = ringCapacity;
  }

  /** @param ringCapacity Records of each core's ring, a power of two. */
  static create(ringCapacity: number): ControlMap {
    const ringWords = ringCapacity * RECORD_WORDS;
    const words = HEADER_WORDS + MAX_CORES * (BLOCK_WORDS + ringWords);
    const buffer = new SharedArrayBuffer(words * 4 + MAX_CORES * LETTER_CHARS * 2);
    return new ControlMap(buffer, ringCapacity);
  }

  /** The same memory, seen from another thread. */
  static attach(buffer: SharedArrayBuffer, ringCapacity: number): ControlMap {
    return new ControlMap(buffer, ringCapacity);
  }

  /** First word of a core's block. */
  block(slot: number): number {
    return HEADER_WORDS + slot * BLOCK_WORDS;
  }

  /** First word of the record with that number in a core's ring. */
  record(slot: number, index: number): number {
    const at = slot * this.ringCapacity + (index & (this.ringCapacity - 1));
    return HEADER_WORDS + MAX_CORES * BLOCK_WORDS + at * RECORD_WORDS;
  }

  /** First unit of a core's letter box. */
  letter(slot: number): number {
    return this.chars.length - (MAX_CORES - slot) * LETTER_CHARS;
  }
}

/** A status word. @param acknowledged Number of a flush. @param state CORE_* */
export function makeStatus(acknowledged: number, state: number): number {
  return (acknowledged << STATE_BITS) | state;
}

export function statusState(status: number): number {
  return status & STATE_MASK;
}

export function statusAcknowledged(status: number): number {
  return status >>> STATE_BITS;
}

/** The number of the flush after that one. */
export function nextRequest(request: number): number {
  return (request + 1) & REQUEST_MASK;
}
