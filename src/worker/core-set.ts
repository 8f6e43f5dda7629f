/**
 * The cores of one address space, as mm's TLB flushes see them: a flush asks all of them at once
 * and waits until each has dropped its translations, is parked, or is dead.
 *
 * A core that does not answer is a program that runs without touching memory. Callers that can put
 * back what they took give up on it soon. For the others its program is ended: it had its second.
 */
import type { AtomicsPort } from '../cpu/atomics-port.ts';
import type { ControlMap } from '../cpu/control.ts';
import { awaitFlush, isFlushed, requestFlush } from '../cpu/shootdown.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import type { TlbListener } from '../mm/tlb.ts';

/** How long a flush that may fail waits for a core: it may have lost its processor for a while. */
const PATIENCE_MS = 20;
/** How long a flush that may not fail waits before it ends the program. */
export const LIMIT_MS = 1000;
/**
 * How much of that time goes by at once, at most: what stops all threads for a while, as a host of
 * virtual machines or a debugger does, stops the core, too, which needs a moment afterwards.
 */
export const MOST_AT_ONCE_MS = LIMIT_MS / 10;

/** A core as its address space knows it. */
export interface FlushTarget {
  readonly slot: number;
  readonly block: number;
  /** The last request it was sent. */
  request: number;
  /** It did not answer last time. */
  isSilent: boolean;
}

/** What happens to a core that never answers; must lead to markCoreDead from another thread. */
export type Condemn = (core: FlushTarget, why: string) => void;

export class CoreSet implements TlbListener {
  readonly cores: FlushTarget[] = [];
  private readonly port: AtomicsPort;
  private readonly words: Int32Array;
  private readonly condemn: Condemn;

  constructor(port: AtomicsPort, map: ControlMap, condemn: Condemn) {
    this.port = port;
    this.words = map.words;
    this.condemn = condemn;
  }

  /** See TlbListener. Context: kernel thread; blocks it. */
  flush(_mm: MmStruct, _start: number, _end: number, mayFail: boolean): boolean {
    const { cores, port, words } = this;
    for (let i = 0; i < cores.length; i++) {
      cores[i]!.request = requestFlush(port, words, cores[i]!.block);
    }
    if (mayFail) return this.haveAnswered(PATIENCE_MS, true);
    for (let spent = 0; spent < LIMIT_MS; spent += MOST_AT_ONCE_MS) {
      if (this.haveAnswered(MOST_AT_ONCE_MS, false)) return true;
    }
    for (let i = 0; i < cores.length; i++) if (cores[i]!.isSilent) this.end(cores[i]!);
    return true;
  }

  /**
   * Waits so long for the answers of all cores, and notes who gave none. Whoever gave none before
   * is not waited for if `isImpatient`.
   */
  private haveAnswered(patienceMs: number, isImpatient: boolean): boolean {
    const { cores, port, words } = this;
    let areFree = true;
    const now = port.nowMs();
    for (let i = 0; i < cores.length; i++) {
      const core = cores[i]!;
      const patience = isImpatient && core.isSilent ? 0 : patienceMs;
      core.isSilent = !awaitFlush(port, words, core.block, core.request, now + patience);
      if (core.isSilent) areFree = false;
    }
    return areFree;
  }

  /** See TlbListener: a core that has polled is past every walk. */
  sync(mm: MmStruct): void {
    this.flush(mm, 0, 0, false);
  }

  /** Asks all cores once and says which of them have not answered after `waitMs`. */
  findSilent(waitMs: number): FlushTarget[] {
    const { cores, port, words } = this;
    for (const core of cores) core.request = requestFlush(port, words, core.block);
    const deadline = port.nowMs() + waitMs;
    return cores.filter((core) => !awaitFlush(port, words, core.block, core.request, deadline));
  }

  /** True when the core has answered its last request. */
  hasAnswered(core: FlushTarget): boolean {
    return isFlushed(this.port, this.words, core.block, core.request);
  }

  /** Ends the program of a core that does not answer, and waits until it is dead. */
  private end(core: FlushTarget): void {
    this.condemn(core, silence(core));
    awaitFlush(this.port, this.words, core.block, core.request, Infinity);
    core.isSilent = false;
  }
}

/** Why a core was ended, for people. */
export function silence(core: FlushTarget): string {
  return (
    `core ${core.slot} did not acknowledge a TLB shootdown within ${LIMIT_MS} ms: it runs ` +
    'without touching memory; long computations belong into cpu.compute'
  );
}
