/**
 * One copy of the copy suite as an operation that can be timed and verified: scattered folios
 * from one memory to another through the engine, in one list or as a stream of lists with several
 * in flight.
 *
 * How a result is verified. In VRAM: after the last sample the RAM pages are overwritten, the
 * device adds a constant drawn only then and computes a checksum of each page, which is compared;
 * where one is wrong, or where the run says so, the pages are copied back to see which word is. In
 * RAM every word is compared. Before each sample of a copy out of VRAM the device adds a constant
 * to the source, so that each copy has to carry new content; sources in RAM are rewritten before
 * each sample. An engine that answers from a shadow, skips a page or copies an old one is caught. A
 * run may also say that nobody looks: then contents are written once, and only errors fail a copy.
 */
import { checkPage, fillPage, pageChecksum, poisonPage, seedFor } from './content.ts';
import type { Verify } from './copy-settings.ts';
import { CommandList, PAGE_SIZE, Prng, errnoName } from '../src/index.ts';
import type { CopyEngine, StrategyName } from '../src/index.ts';
import { OperationFailure } from './sampler.ts';
import type { Operation, PhaseTotals } from './sampler.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;

/** Which memory a copy reads and which it writes. */
export type Direction = 'to-device' | 'to-host' | 'in-device' | 'in-host';

/** The machine that copies. */
export interface CopyMachine {
  readonly engine: CopyEngine;
  /** RAM by words; frame n starts at word n * WORDS_PER_PAGE. */
  readonly ramWords: Uint32Array;
  /** GPU errors that no submission was told of, so far. */
  readonly strayErrors: () => number;
}

/** What is copied. */
export interface CopySpec {
  readonly direction: Direction;
  readonly strategy: StrategyName;
  /** Pages of a folio: of each, where they differ. */
  readonly folioPages: number | Uint32Array;
  /** First frame of each folio. */
  readonly source: Uint32Array;
  readonly target: Uint32Array;
  /** RAM frames to check VRAM to VRAM copies with, as many as `target`. */
  readonly scratch?: Uint32Array;
  readonly seed: number;
  /** Folios of one list; all of them by default. */
  readonly listFolios?: number;
  /** Instead of that: how many lists, of as many folios each as can be. */
  readonly lists?: number;
  /** Lists submitted before the first is waited for. Default 1. */
  readonly inFlight?: number;
  /** Who looks at the result. Default `device`. */
  readonly verify?: Verify;
}

/** Pages of folio i. */
function pagesOf(folioPages: CopySpec['folioPages'], i: number): number {
  return typeof folioPages === 'number' ? folioPages : folioPages[i]!;
}

/** Where the lists of a copy end, in folios. */
function listEnds({ source, listFolios, lists }: CopySpec): number[] {
  const { length } = source;
  const perList = listFolios ?? length;
  const count = Math.min(length, lists ?? Math.ceil(length / perList));
  return Array.from({ length: count }, (_, i) =>
    lists === undefined
      ? Math.min(length, (i + 1) * perList)
      : Math.floor(((i + 1) * length) / count),
  );
}

/** Records copies of folios source[i] to target[i], i from `from` to `to` - 1. */
function recordCopies(
  source: Uint32Array,
  target: Uint32Array,
  folioPages: CopySpec['folioPages'],
  from: number,
  to: number,
): CommandList {
  const list = new CommandList(to - from);
  for (let i = from; i < to; i++) list.copy(source[i]!, target[i]!, pagesOf(folioPages, i));
  return list;
}

export class CopyOperation implements Operation {
  readonly totals: PhaseTotals;
  readonly bytes: number;
  readonly pages: number;
  private readonly machine: CopyMachine;
  private readonly spec: CopySpec;
  private readonly lists: CommandList[] = [];
  private readonly random: Prng;
  private readonly strayAtStart: number;
  private iteration = 0;
  /** What the device has added to the source since its content was written. */
  private added = 0;
  /** What the device has added to the target since the last copy, to look at it. */
  private addedToTarget = 0;
  private deviceIsFilled = false;

  constructor(machine: CopyMachine, spec: CopySpec) {
    this.machine = machine;
    this.spec = spec;
    this.totals = machine.engine.stats;
    this.pages = spec.source.reduce((sum, _, i) => sum + pagesOf(spec.folioPages, i), 0);
    this.bytes = this.pages * PAGE_SIZE;
    this.random = new Prng(seedFor(spec.seed, 'constants'));
    this.strayAtStart = machine.strayErrors();
    let from = 0;
    for (const to of listEnds(spec)) {
      this.lists.push(recordCopies(spec.source, spec.target, spec.folioPages, from, to));
      from = to;
    }
  }

  async prepare(): Promise<void> {
    const { direction, source, target, verify } = this.spec;
    if (verify === 'off' && this.iteration > 0) return;
    if (direction === 'to-device' || direction === 'in-host') {
      this.iteration += 1;
      this.fill(source);
    } else if (this.deviceIsFilled) {
      this.added = (this.added + (await this.addOnDevice(source))) >>> 0;
    } else {
      await this.fillDevice();
    }
    if (direction === 'to-host' || direction === 'in-host') this.poison(target);
  }

  run(): number | Promise<number> {
    return this.runBy(this.spec.strategy);
  }

  /** Runs it by another strategy than its own, on the same frames. */
  runBy(strategy: StrategyName): number | Promise<number> {
    const { lists } = this;
    this.addedToTarget = 0;
    const only = lists[0];
    if (lists.length === 1 && only !== undefined) return this.machine.engine.submit(only, strategy);
    return this.runStream(strategy);
  }

  /** Which path `auto` takes for the first list; null where the engine has but one. */
  chosenPath(): StrategyName | null {
    const { engine } = this.machine;
    const first = this.lists[0];
    return first === undefined ? null : (engine.pathOf?.(first) ?? null);
  }

  /** The same operation by another strategy; both may be run in turn, and verified each. */
  by(strategy: StrategyName): Operation {
    return {
      prepare: () => this.prepare(),
      run: () => this.runBy(strategy),
      verify: () => this.verify(),
      totals: this.totals,
    };
  }

  async verify(): Promise<string | null> {
    for (const list of this.lists) {
      const missing = list.done.indexOf(0);
      if (missing >= 0 && missing < list.length) return `row ${missing} was never done`;
    }
    const wrong = this.spec.verify === 'off' ? null : await this.compareAll();
    if (wrong !== null) return wrong;
    const stray = this.machine.strayErrors() - this.strayAtStart;
    return stray === 0 ? null : `${stray} uncaptured GPU errors`;
  }

  private async compareAll(): Promise<string | null> {
    const { direction, source, target, scratch, verify } = this.spec;
    const { added } = this;
    if (direction === 'to-host' || direction === 'in-host') return this.compare(target, added);
    const check = direction === 'to-device' ? source : scratch;
    if (check === undefined) return 'there is no RAM to check the copy with';
    this.poison(check);
    this.addedToTarget += await this.addOnDevice(target);
    const inAll = (added + this.addedToTarget) >>> 0;
    if (verify === 'readback') {
      await this.move(target, check);
      return this.compare(check, inAll);
    }
    const wrong = await this.compareOnDevice(target, inAll);
    if (wrong < 0) return null;
    await this.move(target, check);
    const where = this.compare(check, inAll);
    return where ?? `page ${wrong} of ${this.pages} is wrong, but right when it is copied back`;
  }

  /** The first page whose checksum, computed by the device, is not that of its content; or -1. */
  private async compareOnDevice(frames: Uint32Array, added: number): Promise<number> {
    const list = new CommandList(this.pages);
    this.forEachPage(frames, (at) => void list.checksum(at / WORDS_PER_PAGE));
    await this.submit(list);
    const { seed } = this.spec;
    return list.result.findIndex(
      (sum, page) => sum !== pageChecksum(seed, this.iteration, page, added),
    );
  }

  /** Keeps up to `inFlight` lists submitted; the last error wins. */
  private async runStream(strategy: StrategyName): Promise<number> {
    const { engine } = this.machine;
    const inFlight = this.spec.inFlight ?? 1;
    const pending: (number | Promise<number>)[] = [];
    let status = 0;
    for (const list of this.lists) {
      if (pending.length === inFlight) status = (await pending.shift()!) || status;
      pending.push(engine.submit(list, strategy));
    }
    for (const one of pending) status = (await one) || status;
    return status;
  }

  private fill(frames: Uint32Array): void {
    this.forEachPage(frames, (at, page) =>
      fillPage(this.machine.ramWords, at, this.spec.seed, this.iteration, page),
    );
  }

  private poison(frames: Uint32Array): void {
    this.forEachPage(frames, (at) => poisonPage(this.machine.ramWords, at));
  }

  private compare(frames: Uint32Array, added: number): string | null {
    const { machine, spec, iteration } = this;
    let wrong: string | null = null;
    this.forEachPage(frames, (at, page) => {
      if (wrong !== null) return;
      const word = checkPage(machine.ramWords, at, spec.seed, iteration, page, added);
      if (word >= 0) wrong = `page ${page} of ${this.pages} is wrong from word ${word} on`;
    });
    return wrong;
  }

  private forEachPage(frames: Uint32Array, visit: (at: number, page: number) => void): void {
    const { folioPages } = this.spec;
    let page = 0;
    for (let i = 0; i < frames.length; i++) {
      const end = frames[i]! + pagesOf(folioPages, i);
      for (let frame = frames[i]!; frame < end; frame++, page++) {
        visit(frame * WORDS_PER_PAGE, page);
      }
    }
  }

  /** Brings the first content into VRAM, by way of the RAM side of the copy. */
  private async fillDevice(): Promise<void> {
    const { direction, source, target, scratch } = this.spec;
    const ram = direction === 'to-host' ? target : scratch;
    if (ram === undefined) throw new OperationFailure('there is no RAM to fill the device from');
    this.iteration += 1;
    this.fill(ram);
    await this.move(ram, source);
    this.deviceIsFilled = true;
  }

  private async move(from: Uint32Array, to: Uint32Array): Promise<void> {
    await this.submit(recordCopies(from, to, this.spec.folioPages, 0, from.length));
  }

  /** Runs the device kernel over VRAM folios, with a constant drawn now, which it answers. */
  private async addOnDevice(frames: Uint32Array): Promise<number> {
    const constant = this.random.nextU32();
    const list = new CommandList(frames.length);
    const { folioPages } = this.spec;
    frames.forEach((frame, i) => void list.add(frame, constant, pagesOf(folioPages, i)));
    await this.submit(list);
    return constant;
  }

  private async submit(list: CommandList): Promise<void> {
    const status = await this.machine.engine.submit(list, 'auto');
    if (status !== 0) {
      throw new OperationFailure(`preparing or checking the copy failed: ${errnoName(status)}`);
    }
  }
}
