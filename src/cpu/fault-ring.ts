/**
 * The rings through which cores reach the kernel, one for each core: bounded, one writer, one
 * reader. A record is written before the head moves past it, so a core that is ended in the middle
 * leaves nothing behind that others, or whoever gets its slot next, could stumble over.
 *
 * What a writer does when its ring is full is its own affair: traps wait for room, hints are
 * dropped and counted. Our own.
 */
import type { AtomicsPort } from './atomics-port.ts';
import { CORE_RING_DROPPED, CORE_RING_HEAD, CORE_RING_TAIL } from './control.ts';
import type { ControlMap } from './control.ts';

/** A load or store that the page table does not allow (yet); answered. */
export const RECORD_FAULT = 1;
/** A system call; its arguments are in the letter box; answered. */
export const RECORD_SYSCALL = 2;
/** A page that will be wanted; not answered. */
export const RECORD_PREFETCH = 3;

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
 * Appends a record to the ring of its core. @returns false when the ring is full.
 *
 * Context: that core; never blocks.
 */
export function pushRecord(port: AtomicsPort, map: ControlMap, record: RingRecord): boolean {
  const { words } = map;
  const block = map.block(record.slot);
  const head = port.load(words, block + CORE_RING_HEAD);
  const used = (head - port.load(words, block + CORE_RING_TAIL)) | 0;
  if (used >= map.ringCapacity) return false;
  const at = map.record(record.slot, head);
  port.store(words, at, record.kind);
  port.store(words, at + 1, record.access);
  port.store(words, at + 2, (record.address % TWO_32) | 0);
  port.store(words, at + 3, Math.floor(record.address / TWO_32));
  port.store(words, at + 4, record.length);
  port.store(words, block + CORE_RING_HEAD, (head + 1) | 0);
  return true;
}

/**
 * Takes the oldest record of a core. @returns false when there is none. Context: kernel thread.
 */
export function popRecord(
  port: AtomicsPort,
  map: ControlMap,
  slot: number,
  into: RingRecord,
): boolean {
  const { words } = map;
  const block = map.block(slot);
  const tail = port.load(words, block + CORE_RING_TAIL);
  if (port.load(words, block + CORE_RING_HEAD) === tail) return false;
  const at = map.record(slot, tail);
  into.kind = port.load(words, at);
  into.slot = slot;
  into.access = port.load(words, at + 1);
  into.address = (port.load(words, at + 2) >>> 0) + port.load(words, at + 3) * TWO_32;
  into.length = port.load(words, at + 4) >>> 0;
  port.store(words, block + CORE_RING_TAIL, (tail + 1) | 0);
  // A core that sleeps on the tail has filled the ring before; waking nobody is not free.
  const held = (port.load(words, block + CORE_RING_HEAD) - tail) | 0;
  if (held >= map.ringCapacity) port.notify(words, block + CORE_RING_TAIL);
  return true;
}

/** Appends a record, waiting for room. Context: that core, parked; blocks it. */
export function pushOrWait(port: AtomicsPort, map: ControlMap, record: RingRecord): void {
  const at = map.block(record.slot) + CORE_RING_TAIL;
  for (;;) {
    const tail = port.load(map.words, at);
    if (pushRecord(port, map, record)) return;
    port.wait(map.words, at, tail, Infinity);
  }
}

/** Appends a record, or counts that it was dropped. Context: that core; never blocks. */
export function pushOrDrop(port: AtomicsPort, map: ControlMap, record: RingRecord): boolean {
  if (pushRecord(port, map, record)) return true;
  port.add(map.words, map.block(record.slot) + CORE_RING_DROPPED, 1);
  return false;
}

/** Forgets what a dead core has left in its ring. Context: kernel thread. */
export function clearRing(port: AtomicsPort, map: ControlMap, slot: number): void {
  const block = map.block(slot);
  const head = port.load(map.words, block + CORE_RING_HEAD);
  port.store(map.words, block + CORE_RING_TAIL, head);
}
