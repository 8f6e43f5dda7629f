/**
 * A process of the simulated machine: its address space, the devices that it has open, and the
 * shadow of its arena. Writes of devices that are in flight are kept here, so that whatever gets
 * into their range meanwhile hears of them.
 */
import type { Dmirror } from '../driver/dmirror.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { ARENA_PAGES, MOST_DEVICES } from './arena.ts';
import type { Monitor } from './monitor.ts';
import { Place } from './shadow.ts';
import type { Content, DeviceWrite, PlaceState } from './shadow.ts';

/** A WRITE or ADD in flight, where, and every page's contents that it may have changed. */
export class RangeWrite implements DeviceWrite {
  readonly isAdd: boolean;
  isDoubtful = false;
  readonly first: number;
  readonly count: number;
  readonly valueAt: (page: number, slot: number) => number | null;
  private readonly attached: { readonly content: Content; readonly page: number }[] = [];

  constructor(
    isAdd: boolean,
    first: number,
    count: number,
    valueAt: (page: number, slot: number) => number | null,
  ) {
    this.isAdd = isAdd;
    this.first = first;
    this.count = count;
    this.valueAt = valueAt;
  }

  covers(arenaPage: number): boolean {
    return arenaPage >= this.first && arenaPage < this.first + this.count;
  }

  /** The write may hit that content at an arena page; it can't miss it if `isSure`. */
  mayHit(content: Content, arenaPage: number, isSure: boolean): void {
    const page = arenaPage - this.first;
    if (this.attached.some((one) => one.content === content && one.page === page)) return;
    this.attached.push({ content, page });
    content.attach(this, page, isSure);
  }

  /** A copy has failed: what the write was writing may be anything. */
  doubt(): void {
    this.isDoubtful = true;
    for (const { content } of this.attached) content.notify();
  }

  /** The write is over. */
  end(isDone: boolean, isWrecked: boolean): void {
    for (const { content, page } of this.attached) content.detach(this, page, isDone, isWrecked);
  }
}

export class SimProcess {
  readonly slot: number;
  readonly mm: MmStruct;
  readonly places: readonly Place[] = Array.from({ length: ARENA_PAGES }, () => new Place());
  /** By device; null = not open. */
  readonly mirrors: (Dmirror | null)[] = Array.from({ length: MOST_DEVICES }, () => null);
  /** Exit has begun: nothing new starts here, and what is in flight may end in any way. */
  isDying = false;
  /** Calls in flight that change the layout, and forks. */
  changing = 0;
  forking = 0;
  /** Serves the faults of what is registered with it. */
  monitor: Monitor | null = null;
  private readonly writes: RangeWrite[] = [];

  constructor(slot: number, mm: MmStruct) {
    this.slot = slot;
    this.mm = mm;
  }

  /** A write of a device begins. */
  beginWrite(write: RangeWrite): void {
    this.writes.push(write);
    for (let page = write.first; page < write.first + write.count; page++) {
      const { now, next } = this.places[page]!;
      const isSure = next === null || next.content === now.content;
      if (now.content !== null) write.mayHit(now.content, page, isSure);
      if (next !== null && next.content !== null) write.mayHit(next.content, page, isSure);
    }
  }

  /** A copy has failed: perhaps one of theirs. */
  doubtWrites(): void {
    for (const write of this.writes) write.doubt();
  }

  endWrite(write: RangeWrite, isDone: boolean, isWrecked: boolean): void {
    this.writes.splice(this.writes.indexOf(write), 1);
    write.end(isDone, isWrecked);
  }

  /** A change of a place begins; it may happen at any moment until `settle`. */
  change(page: number, next: PlaceState): void {
    const place = this.places[page]!;
    place.next = next;
    place.epoch++;
    if (next.content !== place.now.content) this.spread(page, next.content);
  }

  /** The change has happened or not. */
  settle(page: number, happened: boolean): void {
    const place = this.places[page]!;
    if (happened && place.next !== null) place.now = place.next;
    place.next = null;
    place.epoch++;
  }

  /** Puts something else in a place, at once. */
  replace(page: number, state: PlaceState): void {
    const place = this.places[page]!;
    if (state.content !== place.now.content) this.spread(page, state.content);
    place.now = state;
    place.next = null;
    place.epoch++;
  }

  /** The writes in flight on a place may hit what comes there, and miss what was there. */
  private spread(page: number, content: Content | null): void {
    const before = this.places[page]!.now.content;
    for (const write of this.writes) {
      if (!write.covers(page)) continue;
      before?.unsure(write);
      if (content !== null) write.mayHit(content, page, false);
    }
  }
}
