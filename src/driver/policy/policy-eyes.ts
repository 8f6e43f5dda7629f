/**
 * What a user's policy gets to see and to answer with: nothing that the fault service keeps its own
 * books in. Arrays are copies, which a policy that writes spoils for itself alone; the rest can
 * not be written. Policies of our own look at the books themselves, which costs nothing.
 */
import { BLOCK_PAGES, BLOCK_SHIFT } from './block.ts';
import type { Decisions, FaultGroup, PolicyView, Region, Victims } from './policy.ts';
import { Residency } from './residency.ts';

/** A view of a run's pages that keeps up with it. */
class Eyes implements PolicyView {
  readonly where: Uint8Array;
  readonly mapped: Uint8Array;
  readonly remote: Uint8Array;
  readonly #space: Residency;
  /** A copy of each region that was asked for: whoever made the region may go on using it. */
  readonly #regions = new WeakMap<Region, Region>();

  constructor(space: Residency) {
    this.#space = space;
    this.where = space.where.slice();
    this.mapped = space.mapped.slice();
    this.remote = space.remote.slice();
  }

  get pageCount(): number {
    return this.#space.pageCount;
  }

  get devicePages(): number {
    return this.#space.devicePages;
  }

  get freePages(): number {
    return this.#space.freePages;
  }

  get nowUs(): number {
    return this.#space.nowUs;
  }

  residentIn(block: number): number {
    return this.#space.residentIn(block);
  }

  regionOf(page: number): Region | undefined {
    const region = this.#space.regionOf(page);
    if (region === undefined) return undefined;
    let copy = this.#regions.get(region);
    if (copy === undefined) {
      copy = Object.freeze({ ...region, hints: Object.freeze({ ...region.hints }) });
      this.#regions.set(region, copy);
    }
    return copy;
  }

  isProtected(page: number): boolean {
    return this.#space.isProtected(page);
  }
}

/** A copy of a group of faults, filled over and over. */
class Faults implements FaultGroup {
  count = 0;
  context = 0;
  readonly pages = new Int32Array(BLOCK_PAGES);
  readonly access = new Uint8Array(BLOCK_PAGES);
  readonly workgroups = new Int32Array(BLOCK_PAGES);

  get block(): number {
    return this.pages[0]! >>> BLOCK_SHIFT;
  }

  take({ count, context, pages, access, workgroups }: FaultGroup): this {
    this.count = count;
    this.context = context;
    for (let i = 0; i < count; i++) {
      this.pages[i] = pages[i]!;
      this.access[i] = access[i]!;
      this.workgroups[i] = workgroups[i]!;
    }
    return this;
  }
}

/** Answers, and nothing else of the sheet that they are written on. */
class Answers implements Decisions {
  readonly #sheet: Decisions;

  constructor(sheet: Decisions) {
    this.#sheet = sheet;
  }

  migrate(page: number): void {
    this.#sheet.migrate(page);
  }

  remote(page: number): void {
    this.#sheet.remote(page);
  }

  pin(page: number): void {
    this.#sheet.pin(page);
  }

  duplicate(page: number): void {
    this.#sheet.duplicate(page);
  }

  throttle(page: number): void {
    this.#sheet.throttle(page);
  }
}

/** Victims, as Answers. */
class Named implements Victims {
  readonly #victims: Victims;

  constructor(victims: Victims) {
    this.#victims = victims;
  }

  get count(): number {
    return this.#victims.count;
  }

  evict(page: number): void {
    this.#victims.evict(page);
  }
}

/** Turns what a service gives to a policy into what a user's policy gets. One for each run. */
export class PolicyEyes {
  private view: Eyes | null = null;
  private space: PolicyView | null = null;
  private readonly group = new Faults();
  /** Of each sheet: there are two, and a list of victims. */
  private readonly sheets = new WeakMap<object, Answers>();
  private readonly lists = new WeakMap<object, Named>();

  of(space: PolicyView): PolicyView {
    if (this.view !== null && this.space === space) return this.view;
    if (!(space instanceof Residency)) return space;
    this.space = space;
    this.view = new Eyes(space);
    space.copy = this.view;
    return this.view;
  }

  faults(group: FaultGroup): FaultGroup {
    return this.group.take(group);
  }

  answers(sheet: Decisions): Decisions {
    const known = this.sheets.get(sheet) ?? new Answers(sheet);
    this.sheets.set(sheet, known);
    return known;
  }

  victims(list: Victims): Victims {
    const known = this.lists.get(list) ?? new Named(list);
    this.lists.set(list, known);
    return known;
  }
}
