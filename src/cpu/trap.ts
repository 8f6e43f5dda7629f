/**
 * How a core gets into the kernel and back: it parks, leaves a record in the ring, rings the
 * doorbell and sleeps until its trap is answered. Our own.
 */
import type { AtomicsPort } from './atomics-port.ts';
import { CORE_REPLY, CORE_RESULT, CORE_TRAPS } from './control.ts';
import type { ControlMap } from './control.ts';
import type { Doorbell } from './doorbell.ts';
import { pushOrWait } from './fault-ring.ts';
import type { RingRecord } from './fault-ring.ts';
import type { CoreGate } from './shootdown.ts';

/**
 * Makes the kernel do what the record says, and waits for it.
 *
 * @param gate Parked meanwhile; the caller unparks it. @returns the kernel's answer.
 * Context: core; blocks it.
 */
export function trap(
  port: AtomicsPort,
  map: ControlMap,
  gate: CoreGate,
  bell: Doorbell,
  record: RingRecord,
): number {
  const { words } = map;
  const block = map.block(record.slot);
  const number = (port.load(words, block + CORE_TRAPS) + 1) | 0;
  port.store(words, block + CORE_TRAPS, number);
  gate.park();
  pushOrWait(port, map, record);
  bell.ring();
  for (;;) {
    const reply = port.load(words, block + CORE_REPLY);
    if (reply === number) return port.load(words, block + CORE_RESULT);
    port.wait(words, block + CORE_REPLY, reply, Infinity);
  }
}

/** Answers the trap that a core waits for. Context: kernel thread. */
export function answerTrap(
  port: AtomicsPort,
  words: Int32Array,
  block: number,
  result: number,
): void {
  port.store(words, block + CORE_RESULT, result);
  port.store(words, block + CORE_REPLY, port.load(words, block + CORE_TRAPS));
  port.notify(words, block + CORE_REPLY);
}

/** True while the core waits for an answer. Context: kernel thread. */
export function hasTrapped(port: AtomicsPort, words: Int32Array, block: number): boolean {
  return port.load(words, block + CORE_REPLY) !== port.load(words, block + CORE_TRAPS);
}
