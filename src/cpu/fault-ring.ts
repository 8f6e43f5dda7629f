/**
 * The ring through which cores reach the kernel: bounded, many writers, one reader. A record's
 * sequence number says whose turn it is: `n` when record n may be written there, `n + 1` when it
 * may be read. What a writer does when the ring is full is its own affair: traps wait for room,
 * hints are dropped and counted. After D. Vyukov's bounded queue.
 */
import type { AtomicsPort } from './atomics-port.ts';
import { RING_DROPPED, RING_HEAD, RING_TAIL } from './control.ts';
import type { ControlMap } from './control.ts';

/** A load or store that the page table does not allow (yet); answered. */
export const RECORD_FAULT = 1;
/** A system call; its arguments are in the letter box; answered. */
export const RECORD_SYSCALL = 2;
/** A page that will be wanted; not answered. */
export const RECORD_PREFETCH = 3;
/** The program is over; its result is in the letter box; not answered. */
export const RECORD_EXIT = 4;

/** What a record holds. */
export interface RingRecord {
  /** RECORD_* */
  kind: number;
  /** Slot of the core. */
  slot: number;
  /** ACCESS_* of a fault or prefetch. */
  access: number;
  /** Address of a fault or prefetch. */
  address: number;
  /** Bytes of a prefetch. */
  length: number;
}

/** An empty record, to be read into. */
export function newRecord(): RingRecord {
  return { kind: 0, slot: 0, access: 0, address: 0, length: 0 };
}

const TWO_32 = 2 ** 32;

/**
 * Appends a record. @returns false when the ring is full. Context: any thread; never blocks.
 */
export function pushRecord(port: AtomicsPort, map: ControlMap, record: RingRecord): boolean {
  const { words } = map;
  let head = port.load(words, RING_HEAD);
  for (;;) {
    const at = map.record(head);
    const turn = (port.load(words, at) - head) | 0;
    // Not yet read since the last time around.
    if (turn < 0) return false;
    const next = (head + 1) | 0;
    const seen = turn > 0 ? head : port.compareExchange(words, RING_HEAD, head, next);
    if (turn === 0 && seen === head) {
      port.store(words, at + 1, record.kind);
      port.store(words, at + 2, record.slot);
      port.store(words, at + 3, record.access);
      port.store(words, at + 4, (record.address % TWO_32) | 0);
      port.store(words, at + 5, Math.floor(record.address / TWO_32));
      port.store(words, at + 6, record.length);
      port.store(words, at, next);
      return true;
    }
    head = port.load(words, RING_HEAD);
  }
}

/**
 * Takes the oldest record. @returns false when there is none. Context: the kernel thread alone.
 */
export function popRecord(port: AtomicsPort, map: ControlMap, into: RingRecord): boolean {
  const { words } = map;
  const tail = port.load(words, RING_TAIL);
  const at = map.record(tail);
  if (port.load(words, at) !== ((tail + 1) | 0)) return false;
  into.kind = port.load(words, at + 1);
  into.slot = port.load(words, at + 2);
  into.access = port.load(words, at + 3);
  into.address = (port.load(words, at + 4) >>> 0) + port.load(words, at + 5) * TWO_32;
  into.length = port.load(words, at + 6) >>> 0;
  port.store(words, at, (tail + map.ringCapacity) | 0);
  port.store(words, RING_TAIL, (tail + 1) | 0);
  port.notify(words, RING_TAIL);
  return true;
}

/** Appends a record, waiting for room. Context: any thread but the kernel's; blocks it. */
export function pushOrWait(port: AtomicsPort, map: ControlMap, record: RingRecord): void {
  const { words } = map;
  for (;;) {
    const tail = port.load(words, RING_TAIL);
    if (pushRecord(port, map, record)) return;
    port.wait(words, RING_TAIL, tail, Infinity);
  }
}

/** Appends a record, or counts that it was dropped. Context: any thread; never blocks. */
export function pushOrDrop(port: AtomicsPort, map: ControlMap, record: RingRecord): boolean {
  if (pushRecord(port, map, record)) return true;
  port.add(map.words, RING_DROPPED, 1);
  return false;
}
