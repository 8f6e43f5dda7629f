/**
 * TLB shootdown: how the kernel learns that no core uses a translation any more. Both sides are
 * here; docs/locking.md says why it is right.
 *
 *   kernel: changes the entry; requests a flush of each core and nudges it; waits for each until
 *           it is not running, or has acknowledged that request
 *   core:   looks at each access whether it is nudged; drops its translations; acknowledges
 *   core:   parks before it blocks; unparks by publishing that it runs, then looking for requests,
 *           then using translations, in this order
 *
 * Our own; the idea is that of Linux's flush_tlb_mm_range with lazy TLB mode.
 */
import type { AtomicsPort } from './atomics-port.ts';
import {
  CORE_DEAD,
  CORE_FREE,
  CORE_HEARD,
  CORE_NUDGE,
  CORE_PARKED,
  CORE_PERMIT,
  CORE_PRINTED,
  CORE_REPLY,
  CORE_REQUEST,
  CORE_RUNG,
  CORE_RUNNING,
  CORE_SIGNAL,
  CORE_STATUS,
  CORE_TRAPS,
  NUDGED,
  makeStatus,
  nextRequest,
  statusAcknowledged,
  statusState,
} from './control.ts';

/** Looks at a core's status before the kernel sleeps: most answer within a microsecond. */
export const SPINS = 64;

/** The core's side. */
export class CoreGate {
  private readonly port: AtomicsPort;
  private readonly words: Int32Array;
  private readonly block: number;
  private readonly flush: () => void;
  /** The request that this core has acknowledged. */
  private seen: number;

  /** @param block First word of the core's block. @param flush Drops all translations. */
  constructor(port: AtomicsPort, words: Int32Array, block: number, flush: () => void) {
    this.port = port;
    this.words = words;
    this.block = block;
    this.flush = flush;
    this.seen = statusAcknowledged(port.load(words, block + CORE_STATUS));
  }

  /**
   * Looks for a request of the kernel, and acknowledges it. To be called as soon as the core is
   * nudged: until then the kernel waits.
   *
   * @returns the signal that the core is to end by, 0 for none.
   */
  poll(): number {
    const { port, words, block } = this;
    if (port.load(words, block + CORE_NUDGE) === 0) return 0;
    // Before the request is loaded: whoever makes one after that nudges again.
    port.store(words, block + CORE_NUDGE, 0);
    const request = port.load(words, block + CORE_REQUEST);
    return request === this.seen ? 0 : this.acknowledge(request);
  }

  /** Has the next access poll, too, as if the kernel had made a request. */
  nudge(): void {
    this.port.store(this.words, this.block + CORE_NUDGE, NUDGED);
  }

  /** From now on, until unpark, the core uses no translation: nobody waits for it. */
  park(): void {
    const { port, words, block } = this;
    port.store(words, block + CORE_STATUS, makeStatus(this.seen, CORE_PARKED));
    // A kernel that sleeps on the status has made its request before; waking nobody is not free.
    if (port.load(words, block + CORE_REQUEST) !== this.seen) {
      port.notify(words, block + CORE_STATUS);
    }
  }

  /**
   * Ends park. Publishing comes first: the kernel either sees that the core runs, and waits for it,
   * or has made its request before, and is heard here. @returns as poll.
   */
  unpark(): number {
    const { port, words, block } = this;
    port.store(words, block + CORE_STATUS, makeStatus(this.seen, CORE_RUNNING));
    return this.poll();
  }

  private acknowledge(request: number): number {
    const { port, words, block } = this;
    this.flush();
    this.seen = request;
    port.store(words, block + CORE_STATUS, makeStatus(request, CORE_RUNNING));
    port.notify(words, block + CORE_STATUS);
    return port.load(words, block + CORE_SIGNAL);
  }
}

/**
 * Asks a core to drop its translations. @returns the number of the request.
 *
 * Context: kernel thread, after the entries have changed.
 */
export function requestFlush(port: AtomicsPort, words: Int32Array, block: number): number {
  const request = nextRequest(port.load(words, block + CORE_REQUEST));
  port.store(words, block + CORE_REQUEST, request);
  // After the request: a core that was nudged finds it.
  port.store(words, block + CORE_NUDGE, NUDGED);
  return request;
}

/** True when the core uses no translation from before that request. Context: kernel thread. */
export function isFlushed(
  port: AtomicsPort,
  words: Int32Array,
  block: number,
  request: number,
): boolean {
  const status = port.load(words, block + CORE_STATUS);
  return statusState(status) !== CORE_RUNNING || statusAcknowledged(status) === request;
}

/**
 * Waits until the core uses no translation from before that request.
 *
 * @param deadlineMs When to give up, on the port's clock. @returns false when it gave up.
 * Context: kernel thread; blocks it.
 */
export function awaitFlush(
  port: AtomicsPort,
  words: Int32Array,
  block: number,
  request: number,
  deadlineMs: number,
): boolean {
  for (let spins = 0; spins < SPINS; spins++) {
    if (isFlushed(port, words, block, request)) return true;
  }
  for (;;) {
    const status = port.load(words, block + CORE_STATUS);
    if (isFlushed(port, words, block, request)) return true;
    const left = deadlineMs - port.nowMs();
    if (left <= 0) return false;
    port.wait(words, block + CORE_STATUS, status, left);
  }
}

/** Gives a free slot to a core that has not started: parked, all requests acknowledged. */
export function claimCore(port: AtomicsPort, words: Int32Array, block: number): void {
  const request = port.load(words, block + CORE_REQUEST);
  for (const word of [CORE_SIGNAL, CORE_NUDGE, CORE_PRINTED, CORE_HEARD, CORE_RUNG, CORE_PERMIT]) {
    port.store(words, block + word, 0);
  }
  // The last owner of the slot may have died in a trap.
  port.store(words, block + CORE_REPLY, port.load(words, block + CORE_TRAPS));
  port.store(words, block + CORE_STATUS, makeStatus(request, CORE_PARKED));
}

/**
 * Says that a core's thread has ended: nobody waits for it any more. Context: its host, when it has
 * proof; a thread that only was told to end may still store to memory.
 */
export function markCoreDead(port: AtomicsPort, words: Int32Array, block: number): void {
  port.store(words, block + CORE_STATUS, makeStatus(0, CORE_DEAD));
  port.notify(words, block + CORE_STATUS);
}

/** Frees the slot of a dead core. Context: kernel thread. */
export function releaseCore(port: AtomicsPort, words: Int32Array, block: number): void {
  port.store(words, block + CORE_STATUS, makeStatus(0, CORE_FREE));
}

/** Tells a core to end by a signal, when it next looks. Context: kernel thread. */
export function signalCore(
  port: AtomicsPort,
  words: Int32Array,
  block: number,
  signal: number,
): void {
  port.store(words, block + CORE_SIGNAL, signal);
  // It may sleep.
  port.notify(words, block + CORE_SIGNAL);
  requestFlush(port, words, block);
}

export function coreState(port: AtomicsPort, words: Int32Array, block: number): number {
  return statusState(port.load(words, block + CORE_STATUS));
}
