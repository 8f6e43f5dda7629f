/*
 * The port through which an actor's production code reaches shared memory: each operation is one of
 * the explorer's.
 */
import type { AtomicsPort } from '../../src/cpu/atomics-port.ts';
import { SPINS } from '../../src/cpu/shootdown.ts';
import { ADD, CAS, LOAD, NOTIFY, TIMED_OUT, WAIT, WRITE, makeOp } from './replay.ts';
import type { Replay } from './replay.ts';
import type { Space } from './space.ts';
import { controlMap, controlWord, isCounter, isKernelWord, isRingWord } from './words.ts';
import type { WordName } from './words.ts';

export interface PortOptions {
  /** The kernel: it alone writes its words, and knows them without looking. */
  readonly isKernel: boolean;
  /** Whether others may run between the operations on the ring. */
  readonly isRingVisible: boolean;
  /** Whether they may between the words of a record, other than the first two. */
  readonly isPayloadVisible?: boolean;
  /** The page table word before whose loads others may run; null: before those of all. */
  readonly leafAt: number | null;
}

export class ExplorerPort implements AtomicsPort {
  private readonly replay: Replay;
  private readonly space: Space;
  private readonly options: PortOptions;
  /** Words that this actor alone writes. */
  private readonly own = new Map<string, number>();
  private clockMs = 0;
  /** The load that was repeated without end, its result, and how often. */
  private spinWord = '';
  private spinResult = 0;
  private spins = 0;

  constructor(replay: Replay, space: Space, options: PortOptions) {
    this.replay = replay;
    this.space = space;
    this.options = options;
  }

  /** Forgets what does not matter between two operations of a program. */
  forget(): void {
    this.spinWord = '';
    this.spinResult = 0;
    this.spins = 0;
  }

  load(words: Int32Array, at: number): number {
    const word = this.wordOf(words, at);
    if (this.isOwn(word)) return this.own.get(word.name) ?? 0;
    const { name } = word;
    // To look again and again is the same as to look later.
    const isSpin = name === this.spinWord;
    if (isSpin && ++this.spins < SPINS) return this.spinResult;
    const isQuiet = this.isQuiet(at, word);
    const op = makeOp(LOAD, `load ${name}`, { at: this.space.at(name), isQuiet });
    const result = this.replay.value(op);
    if (!isSpin) this.spins = 0;
    this.spinWord = word.field === 'status' ? name : '';
    this.spinResult = result;
    return result;
  }

  store(words: Int32Array, at: number, value: number): void {
    this.spinWord = '';
    const word = this.wordOf(words, at);
    if (isCounter(word)) return;
    if (this.isOwn(word)) this.own.set(word.name, value);
    const writes = [this.space.at(word.name), value];
    const isQuiet = this.isQuiet(at, word);
    this.replay.effect(makeOp(WRITE, `store ${word.name} := ${value}`, { writes, isQuiet }));
  }

  add(words: Int32Array, at: number, value: number): number {
    const { name } = this.wordOf(words, at);
    this.replay.effect(makeOp(ADD, `add to ${name}`, { at: this.space.at(name), a: value }));
    return NaN;
  }

  compareExchange(words: Int32Array, at: number, expected: number, value: number): number {
    const word = this.wordOf(words, at);
    const label = `replace ${word.name}, ${expected} by ${value}`;
    const isQuiet = this.isQuiet(at, word);
    const parts = { at: this.space.at(word.name), a: expected, b: value, isQuiet };
    return this.replay.value(makeOp(CAS, label, parts));
  }

  wait(words: Int32Array, at: number, value: number, timeoutMs: number): void {
    // From here on each look counts: whoever looks twice before sleeping again may miss something.
    this.spins = SPINS;
    const { name } = this.wordOf(words, at);
    const b = timeoutMs === Infinity ? 0 : 1;
    const op = makeOp(WAIT, `wait while ${name} is ${value}`, {
      at: this.space.at(name),
      a: value,
      b,
    });
    if (this.replay.value(op) !== TIMED_OUT) return;
    this.clockMs += timeoutMs;
    this.forget();
  }

  notify(words: Int32Array, at: number): void {
    const { name } = this.wordOf(words, at);
    // Who sleeps did so before the store that this follows; who comes later sees the new value.
    const isQuiet = true;
    this.replay.effect(makeOp(NOTIFY, `notify ${name}`, { at: this.space.at(name), isQuiet }));
  }

  nowMs(): number {
    return this.clockMs;
  }

  private wordOf(words: Int32Array, at: number): WordName {
    if (words.buffer === controlMap.words.buffer) return controlWord(at);
    return { name: `table word ${at}`, field: 'table' };
  }

  private isOwn(word: WordName): boolean {
    if (this.options.isKernel) return isKernelWord(word);
    return word.field === 'traps' || isCounter(word);
  }

  private isQuiet(at: number, word: WordName): boolean {
    if (word.field === 'payload') return this.options.isPayloadVisible !== true;
    if (isRingWord(word)) return !this.options.isRingVisible;
    // Read and written by those alone whose turn it is.
    if (word.field === 'traps') return true;
    if (word.field === 'result' && !this.options.isKernel) return true;
    const { leafAt } = this.options;
    return word.field === 'table' && leafAt !== null && at !== leafAt;
  }
}
