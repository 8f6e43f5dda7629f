/**
 * A worker of the benchmark that is a CPU core, or answers one: faults and hops are timed here, in
 * the thread that waits for them. First message: what it is. Each later one is a command, answered
 * by one message with microseconds.
 */
import { makeCore } from './insides.ts';
import type { CoreImage, ProgramCpu } from './insides.ts';
import { timeTlb } from './tlb-times.ts';

/** What the worker is told. */
export type CoreCommand =
  | { readonly kind: 'core'; readonly image: CoreImage }
  /** Answers whoever changes the word, until it is negative. */
  | { readonly kind: 'echo'; readonly words: Int32Array }
  /** Asks whoever listens to these words for something, and is blocked until it is done. */
  | { readonly kind: 'ask'; readonly words: Int32Array }
  /** Loads or stores a word. */
  | { readonly kind: 'touch'; readonly addr: number; readonly isStore: boolean }
  /** Loads a word of each page. */
  | { readonly kind: 'sweep'; readonly addr: number; readonly pages: number }
  /** Times accesses that hit the TLB. */
  | { readonly kind: 'tlb'; readonly base: number; readonly pairs: number }
  | HopCommand;

/** Three ways to have somebody else do something, in turn. */
export interface HopCommand {
  readonly kind: 'hops';
  /** Pages that are mapped and old: rounds * chain of them. */
  readonly old: number;
  /** As many that nobody has touched. */
  readonly untouched: number;
  readonly rounds: number;
  /** Operations that make one sample. */
  readonly chain: number;
  /** The echo worker's words, those of an event loop, and of the main thread with its port. */
  readonly echo: Int32Array;
  readonly loop: Int32Array;
  readonly main: Int32Array;
  readonly port: MessagePort;
}

/** Microseconds of each sample. */
export interface HopTimes {
  /** A trap that only sets a bit, so that it is a request and a wake-up. */
  readonly trap: number[];
  /** One that makes a page. */
  readonly minor: number[];
  readonly raw: number[];
  readonly loop: number[];
  readonly main: number[];
}

const PAGE = 4096;
/** Word 0 is the question, word 1 the answer. */
const ANSWER = 1;

let cpu: ProgramCpu | null = null;
let mainPort: MessagePort | null = null;

function nowUs(): number {
  return performance.now() * 1000;
}

/** Asks through shared memory and waits for the same number. */
function ask(words: Int32Array, wake: () => void): void {
  const question = (Atomics.load(words, 0) + 1) & 0x3fffffff;
  Atomics.store(words, 0, question);
  wake();
  for (;;) {
    const answer = Atomics.load(words, ANSWER);
    if (answer === question) return;
    Atomics.wait(words, ANSWER, answer);
  }
}

/** The least that a blocked thread does to have somebody else do something: microseconds. */
function timeAsk(words: Int32Array): number {
  const begun = nowUs();
  ask(words, () => Atomics.notify(words, 0));
  return nowUs() - begun;
}

function echo(words: Int32Array): void {
  for (let seen = 0; seen >= 0;) {
    Atomics.wait(words, 0, seen);
    seen = Atomics.load(words, 0);
    Atomics.store(words, ANSWER, seen);
    Atomics.notify(words, ANSWER);
  }
}

function timed(chain: number, once: (i: number) => void): number {
  const begun = nowUs();
  for (let i = 0; i < chain; i++) once(i);
  return (nowUs() - begun) / chain;
}

function hops(core: ProgramCpu, command: HopCommand): HopTimes {
  const { old, untouched, rounds, chain, echo: words, loop, main, port } = command;
  mainPort ??= port;
  const asksMain = mainPort;
  const times: HopTimes = { trap: [], minor: [], raw: [], loop: [], main: [] };
  for (let round = 0; round < rounds; round++) {
    const first = round * chain * PAGE;
    const sides = [
      () => times.trap.push(timed(chain, (i) => void core.load32(old + first + i * PAGE))),
      () => times.minor.push(timed(chain, (i) => void core.load32(untouched + first + i * PAGE))),
      () => times.raw.push(timed(chain, () => ask(words, () => Atomics.notify(words, 0)))),
      () => times.loop.push(timed(chain, () => ask(loop, () => Atomics.notify(loop, 0)))),
      () => times.main.push(timed(chain, () => ask(main, () => asksMain.postMessage(null)))),
    ];
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) side();
  }
  return times;
}

function obey(command: CoreCommand): unknown {
  if (command.kind === 'core') {
    cpu = makeCore(command.image);
    return 0;
  }
  if (command.kind === 'echo') return echo(command.words);
  if (command.kind === 'ask') return timeAsk(command.words);
  const core = cpu;
  if (core === null) throw new Error('no core yet');
  core.resume();
  try {
    if (command.kind === 'hops') return hops(core, command);
    if (command.kind === 'tlb') return timeTlb(core, command.base, command.pairs);
    const begun = nowUs();
    if (command.kind === 'sweep') {
      for (let i = 0; i < command.pages; i++) core.load32(command.addr + i * PAGE);
    } else if (command.isStore) core.store32(command.addr, core.load32(command.addr));
    else core.load32(command.addr);
    return nowUs() - begun;
  } finally {
    core.suspend();
  }
}

addEventListener('message', ({ data }: MessageEvent<CoreCommand>) => postMessage(obey(data)));
