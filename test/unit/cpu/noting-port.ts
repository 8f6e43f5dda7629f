/* A port in one thread that notes what is done, and sleeps by moving its clock. */
import type { AtomicsPort } from '../../../src/cpu/atomics-port.ts';
import {
  CORE_NUDGE,
  CORE_REPLY,
  CORE_REQUEST,
  CORE_RESULT,
  CORE_SIGNAL,
  CORE_STATUS,
  CORE_TRAPS,
} from '../../../src/cpu/control.ts';
import type { ControlMap } from '../../../src/cpu/control.ts';

export class NotingPort implements AtomicsPort {
  /** Operations on words of the core, in order. */
  readonly notes: string[] = [];
  /** Milliseconds that each sleep was to last. */
  readonly slept: number[] = [];
  clock = 0;
  /** What happens during a sleep; by default it lasts to its end. */
  onSleep: (() => void) | null = null;
  private readonly names: Map<number, string>;

  constructor(map: ControlMap, slot: number) {
    const block = map.block(slot);
    this.names = new Map([
      [block + CORE_STATUS, 'status'],
      [block + CORE_REQUEST, 'request'],
      [block + CORE_NUDGE, 'nudge'],
      [block + CORE_SIGNAL, 'signal'],
      [block + CORE_REPLY, 'reply'],
      [block + CORE_RESULT, 'result'],
      [block + CORE_TRAPS, 'traps'],
    ]);
  }

  load(words: Int32Array, at: number): number {
    this.note('load', at);
    return words[at]!;
  }

  store(words: Int32Array, at: number, value: number): void {
    this.note('store', at);
    words[at] = value;
  }

  add(words: Int32Array, at: number, value: number): number {
    const before = words[at]!;
    words[at] = before + value;
    return before;
  }

  compareExchange(words: Int32Array, at: number, expected: number, value: number): number {
    const before = words[at]!;
    if (before === expected) words[at] = value;
    return before;
  }

  wait(words: Int32Array, at: number, value: number, timeoutMs: number): void {
    if (words[at] !== value) return;
    this.note('sleep on', at);
    this.slept.push(timeoutMs);
    if (this.onSleep !== null) this.onSleep();
    else if (timeoutMs === Infinity) throw new Error('sleeps for ever');
    else this.clock += timeoutMs;
  }

  notify(_words: Int32Array, at: number): void {
    this.note('notify', at);
  }

  nowMs(): number {
    return this.clock;
  }

  private note(what: string, at: number): void {
    const name = this.names.get(at);
    if (name !== undefined) this.notes.push(`${what} ${name}`);
  }
}
