/**
 * Shadow memory: what every word that the simulator looks at may hold, kept beside the machine and
 * ignorant of page tables, faults and devices.
 *
 * A page is a few words (SLOTS) at both ends and in the middle. A CPU store takes effect at once,
 * so it leaves one value. A command of a device takes effect at some moment of its flight: until it
 * ends its words may hold what they held or what it makes of that, and afterwards exactly the
 * latter, unless somebody else wrote in the meantime: then one of several. Nobody may ever see
 * anything else. Looking at a word that nobody is writing to leaves one value again.
 */
import { violated } from './violation.ts';

/** Word offsets within a page that are looked at. */
export const SLOTS: readonly number[] = [0, 1, 510, 1023];
/** More possible values than this are not told apart any more. */
const MOST_VALUES = 24;

/** A write that takes effect at an unknown moment of its flight, by a device or the kernel. */
export interface DeviceWrite {
  readonly isAdd: boolean;
  /** A copy has failed during its flight: what it was writing may be anything now. */
  isDoubtful: boolean;
  /** What is stored or added, by page of the range and slot; null = the slot stays as it is. */
  readonly valueAt: (page: number, slot: number) => number | null;
}

/** A device's write in flight and one page that it may change. */
interface Attachment {
  readonly write: DeviceWrite;
  /** Page of the write's range. */
  readonly page: number;
  /** By slot: somebody else wrote there, too, meanwhile. */
  readonly contested: boolean[];
  /** The write began after the page was there: when it succeeds, it did change this page. */
  isSure: boolean;
}

/** Collects everything that a read in flight may return. */
export interface Reader {
  /** By slot; null = anything. */
  readonly seen: (number[] | null)[];
}

function include(values: number[], value: number): void {
  if (!values.includes(value)) values.push(value);
}

/** The contents of one page, as the programs that share it see them. */
export class Content {
  /** By slot: the possible values without the writes in flight; null = any. */
  private readonly values: (number[] | null)[];
  private readonly attached: Attachment[] = [];
  private readonly readers: Reader[] = [];

  /** A private mapping of an object that was not written yet: it may show what others write. */
  private isLoose: boolean;
  /** Its bytes may become zeroes at any moment, until somebody writes (MADV_FREE). */
  private isLazy: boolean;

  private constructor(values: (number[] | null)[], isLoose = false, isLazy = false) {
    this.values = values;
    this.isLoose = isLoose;
    this.isLazy = isLazy;
  }

  /** A page of which nothing is known until somebody writes to it. */
  static loose(): Content {
    return new Content(
      SLOTS.map(() => null),
      true,
    );
  }

  /** A page of zeroes. */
  static zero(): Content {
    return new Content(SLOTS.map(() => [0]));
  }

  /** A copy that from now on changes by itself; writes in flight may or may not be in it. */
  clone(): Content {
    return new Content(
      SLOTS.map((_, slot) => this.possible(slot)),
      this.isLoose,
      this.isLazy,
    );
  }

  /** Whether a store that the page tables don't hear of may be lost. */
  get mayBeDropped(): boolean {
    return this.isLazy;
  }

  /** From now on the page's bytes may be dropped. */
  free(): void {
    this.isLazy = true;
    for (let slot = 0; slot < SLOTS.length; slot++) this.maybeStore(slot, 0);
  }

  /** Whether any device is writing to the page. */
  get isContested(): boolean {
    return this.attached.length > 0;
  }

  /** Everything that a load of the slot may return now; null = anything. */
  possible(slot: number): number[] | null {
    const base = this.values[slot]!;
    if (base === null) return null;
    if (this.attached.length === 0) return [...base];
    if (this.attached.some(({ write }) => write.isDoubtful)) return null;
    const all = [...base];
    for (const { write, page } of this.attached) {
      const value = write.isAdd ? null : write.valueAt(page, slot);
      if (value !== null) include(all, value);
    }
    for (const { write, page } of this.attached) {
      const operand = write.isAdd ? write.valueAt(page, slot) : null;
      if (operand === null) continue;
      const sums = all.map((value) => (value + operand) >>> 0);
      for (const sum of sums) include(all, sum);
    }
    return all.length > MOST_VALUES ? null : all;
  }

  /** Whether a load of the slot may return `value` now. */
  mayBe(slot: number, value: number): boolean {
    const base = this.values[slot]!;
    if (base === null || base.includes(value)) return true;
    if (this.attached.length === 0) return false;
    const all = this.possible(slot);
    return all === null || all.includes(value);
  }

  /** A store that has taken effect. */
  store(slot: number, value: number): void {
    this.isLoose = false;
    this.isLazy = false;
    this.values[slot] = [value];
    this.contest(slot);
  }

  /** A store that has taken effect or not. */
  maybeStore(slot: number, value: number): void {
    const base = this.values[slot]!;
    if (base !== null) include(base, value);
    this.contest(slot);
  }

  /** Nothing is known of the page's words any more. */
  forget(): void {
    for (let slot = 0; slot < SLOTS.length; slot++) {
      this.values[slot] = null;
      this.contest(slot);
    }
  }

  /** Somebody looked: the slot holds `value`. */
  observe(slot: number, value: number): void {
    const isFixed = !this.isLoose && !this.isLazy;
    if (this.attached.length === 0 && isFixed) this.values[slot] = [value];
  }

  /** What is known, in words. */
  describe(slot: number): string {
    const all = this.possible(slot);
    return all === null ? 'anything' : all.map((value) => value.toString(16)).join(' or ');
  }

  /** A device's write begins. `isSure`: it can't miss the page. */
  attach(write: DeviceWrite, page: number, isSure: boolean): void {
    const isContested = this.attached.length > 0;
    for (const other of this.attached) other.contested.fill(true);
    const contested = SLOTS.map(() => isContested);
    this.attached.push({ write, page, contested, isSure });
    this.notify();
  }

  /** A write in flight may miss the page: it has lost its place. */
  unsure(write: DeviceWrite): void {
    for (const one of this.attached) if (one.write === write) one.isSure = false;
  }

  /**
   * A device's write ends.
   *
   * @param isDone It succeeded. @param isWrecked Its target may hold anything.
   */
  detach(write: DeviceWrite, page: number, isDone: boolean, isWrecked: boolean): void {
    const at = this.attached.findIndex((one) => one.write === write && one.page === page);
    if (at < 0) violated('a write that ends is in flight');
    const { contested, isSure } = this.attached[at]!;
    if (isDone && isSure) this.isLoose = false;
    // Unless it was freed after the write had taken effect.
    if (isDone && isSure && !contested.includes(true)) this.isLazy = false;
    for (let slot = 0; slot < SLOTS.length; slot++) {
      const operand = write.valueAt(page, slot);
      if (operand === null) continue;
      const base = this.values[slot]!;
      if (!isDone || !isSure || contested[slot]!) this.values[slot] = this.possible(slot);
      else if (!write.isAdd) this.values[slot] = [operand];
      else if (base !== null) this.values[slot] = base.map((value) => (value + operand) >>> 0);
    }
    this.attached.splice(at, 1);
    if (isWrecked) this.forget();
    else this.notify();
  }

  /** Collects what a read of the page may return from now on. */
  watch(): Reader {
    const reader: Reader = { seen: SLOTS.map((_, slot) => this.possible(slot)) };
    this.readers.push(reader);
    return reader;
  }

  /** Ends `watch`. */
  unwatch(reader: Reader): void {
    this.readers.splice(this.readers.indexOf(reader), 1);
  }

  private contest(slot: number): void {
    for (const one of this.attached) one.contested[slot] = true;
    if (this.readers.length > 0) this.notify();
  }

  /** What the page may hold has grown: those who are reading it hear of it. */
  notify(): void {
    for (const { seen } of this.readers) {
      for (let slot = 0; slot < SLOTS.length; slot++) {
        const all = this.possible(slot);
        const before = seen[slot]!;
        if (all === null || before === null) seen[slot] = null;
        else for (const value of all) include(before, value);
      }
    }
  }
}

/** A page of an object that may change its size. */
export interface ObjectPage {
  readonly object: object;
  readonly index: number;
}

/** See `PlaceState.guard`. */
export const FRESH = 'fresh';

/** What a page of the arena is to its process. */
export interface PlaceState {
  /** PROT_* bits; UNMAPPED. */
  readonly prot: number;
  /** Null when unmapped, and beyond the end of an object. */
  readonly content: Content | null;
  readonly isShared: boolean;
  /** A private mapping of an object: what was not written yet is the object's. */
  readonly isFile?: boolean;
  /** What is mapped there, where that is a page of an object. */
  readonly of?: ObjectPage;
  /**
   * There while a guard marker is, and `content` is null: what comes back when it goes, FRESH for
   * contents that nobody has seen.
   */
  readonly guard?: Content | typeof FRESH | null;
}

/** `prot` of what is not mapped. */
export const UNMAPPED = -1;

const NOTHING: PlaceState = { prot: UNMAPPED, content: null, isShared: false };

/** One page of a process's arena. */
export class Place {
  now: PlaceState = NOTHING;
  /** What it becomes, or stays, when the call that is changing it ends. */
  next: PlaceState | null = null;
  /** Grows with every change, so that who began before one knows. */
  epoch = 0;

  /** A store has taken effect; in which of two contents may be open. */
  store(slot: number, value: number): void {
    const { now, next } = this;
    if (next === null) {
      now.content?.store(slot, value);
    } else if (next.content === now.content) {
      now.content?.store(slot, value);
    } else {
      now.content?.maybeStore(slot, value);
      next.content?.maybeStore(slot, value);
    }
  }

  mayBe(slot: number, value: number): boolean {
    const { now, next } = this;
    if (now.content?.mayBe(slot, value) === true) return true;
    return next !== null && next.content?.mayBe(slot, value) === true;
  }

  describe(slot: number): string {
    const rest = this.next === null ? '' : `, later ${this.next.content?.describe(slot)}`;
    return `${this.now.content?.describe(slot)}${rest}`;
  }
}

/** Nothing mapped. */
export function nothing(): PlaceState {
  return NOTHING;
}
