/*
 * The part of a transfer that this thread does: between the shared memory and a mapped staging
 * buffer.
 *
 * Neighbouring segments whose RAM frames are neighbours too are moved as one. Short runs are moved
 * by a loop, because a `subarray` for each would leave 100 bytes of garbage; from LOOP_PAGES on one
 * `set` serves many pages. Single pages are moved four at a time, a few words of each in turn: four
 * reads of memory are under way then, where one page after the other waits at the start of each.
 * The loops move 64-bit integers, which optimised code does without making BigInts; doubles would
 * not keep the bits of every NaN. Each exists once for each direction so that each copy only ever
 * sees one pair of arrays: shared, it ran at half the speed downwards.
 *
 * Locking. None. The caller holds the pages still. Source: our own.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { FlightPlan } from './flight-plan.ts';

/** Pages from which a run is moved by `set`. */
const LOOP_PAGES = 16;
/** Single pages that are moved together. */
const FOUR = 4;
/** Pages that warm up the loops; a few milliseconds. */
const WARM_PAGES = 128;
const LONGS_PER_PAGE = PAGE_SIZE / 8;
/** Pages of the plain copy that `writeBuffer` needs where it can't read shared memory. */
const PLAIN_PAGES = 512;

/** See the file header. */
export class HostCopier {
  private readonly ram: Uint8Array;
  private readonly longs: BigUint64Array;
  /** A view that `writeBuffer` may read: all RAM, or null where shared memory crashes it. */
  private readonly sharedSource: Uint8Array<ArrayBuffer> | null;
  private plain: Uint8Array<ArrayBuffer> | null = null;

  /**
   * @param ram the shared memory
   * @param writesShared whether `queue.writeBuffer` can read from shared memory here
   */
  constructor(ram: Uint8Array, writesShared: boolean) {
    this.ram = ram;
    this.longs = new BigUint64Array(ram.buffer, ram.byteOffset, ram.byteLength / 8);
    // The types of writeBuffer know plain memory only; the specification allows shared memory.
    this.sharedSource = writesShared ? (ram as Uint8Array<ArrayBuffer>) : null;
    warmUp(ram.buffer instanceof ArrayBuffer);
  }

  /** Copies the RAM pages of the plan's segments of `kind` into a slot's mapped range. */
  fill(slot: ArrayBuffer, plan: FlightPlan, kind: number): void {
    if (plan.isPlain) {
      this.fillPages(slot, plan.host, plan.length);
      return;
    }
    let slotLongs: BigUint64Array | null = null;
    let slotBytes: Uint8Array | null = null;
    for (let i = 0; i < plan.length; i++) {
      if (plan.kind[i] !== kind) continue;
      const from = plan.host[i]!;
      const to = plan.slot[i]!;
      const end = endOfRun(plan, kind, i);
      const pages = plan.slot[end]! + plan.pages[end]! - to;
      i = end;
      if (pages < LOOP_PAGES) {
        slotLongs ??= longsOf(slot);
        copyUp(slotLongs, to * LONGS_PER_PAGE, this.longs, from * LONGS_PER_PAGE, pages);
      } else {
        const start = from * PAGE_SIZE;
        slotBytes ??= new Uint8Array(slot);
        slotBytes.set(this.ram.subarray(start, start + pages * PAGE_SIZE), to * PAGE_SIZE);
      }
    }
  }

  /** Copies RAM pages one behind the other into a slot's mapped range: the first `length`. */
  fillPages(slot: ArrayBuffer, hosts: Uint32Array, length: number): void {
    // Each is made when it is wanted: most flights have runs of one sort only.
    let slotLongs: BigUint64Array | null = null;
    let slotBytes: Uint8Array | null = null;
    for (let i = 0, pages = 0; i < length; i += pages) {
      pages = neighbours(hosts, i, length);
      if (pages >= LOOP_PAGES) {
        const start = hosts[i]! * PAGE_SIZE;
        slotBytes ??= new Uint8Array(slot);
        slotBytes.set(this.ram.subarray(start, start + pages * PAGE_SIZE), i * PAGE_SIZE);
      } else if (pages < FOUR && i + FOUR <= length) {
        slotLongs ??= longsOf(slot);
        copyFourUp(slotLongs, i * LONGS_PER_PAGE, this.longs, hosts, i);
        pages = FOUR;
      } else {
        slotLongs ??= longsOf(slot);
        copyUp(slotLongs, i * LONGS_PER_PAGE, this.longs, hosts[i]! * LONGS_PER_PAGE, pages);
      }
    }
  }

  /** Copies a slot's mapped range to the RAM pages of the plan's segments of `kind`. */
  empty(slot: ArrayBuffer, plan: FlightPlan, kind: number): void {
    if (plan.isPlain) {
      this.emptyPages(slot, plan.host, plan.length);
      return;
    }
    let slotLongs: BigUint64Array | null = null;
    let slotBytes: Uint8Array | null = null;
    for (let i = 0; i < plan.length; i++) {
      if (plan.kind[i] !== kind) continue;
      const to = plan.host[i]!;
      const from = plan.slot[i]!;
      const end = endOfRun(plan, kind, i);
      const pages = plan.slot[end]! + plan.pages[end]! - from;
      i = end;
      if (pages < LOOP_PAGES) {
        slotLongs ??= longsOf(slot);
        copyDown(this.longs, to * LONGS_PER_PAGE, slotLongs, from * LONGS_PER_PAGE, pages);
      } else {
        const start = from * PAGE_SIZE;
        slotBytes ??= new Uint8Array(slot);
        this.ram.set(slotBytes.subarray(start, start + pages * PAGE_SIZE), to * PAGE_SIZE);
      }
    }
  }

  /** Copies the first pages of a slot's mapped range to the RAM pages `hosts`, one each. */
  emptyPages(slot: ArrayBuffer, hosts: Uint32Array, length: number): void {
    let slotLongs: BigUint64Array | null = null;
    let slotBytes: Uint8Array | null = null;
    for (let i = 0, pages = 0; i < length; i += pages) {
      pages = neighbours(hosts, i, length);
      if (pages >= LOOP_PAGES) {
        const start = i * PAGE_SIZE;
        slotBytes ??= new Uint8Array(slot);
        this.ram.set(slotBytes.subarray(start, start + pages * PAGE_SIZE), hosts[i]! * PAGE_SIZE);
      } else if (pages < FOUR && i + FOUR <= length) {
        slotLongs ??= longsOf(slot);
        copyFourDown(this.longs, hosts, i, slotLongs, i * LONGS_PER_PAGE);
        pages = FOUR;
      } else {
        slotLongs ??= longsOf(slot);
        copyDown(this.longs, hosts[i]! * LONGS_PER_PAGE, slotLongs, i * LONGS_PER_PAGE, pages);
      }
    }
  }

  /** Uploads RAM pages with `queue.writeBuffer`. */
  writeBuffer(
    queue: GPUQueue,
    target: GPUBuffer,
    targetPage: number,
    hostPage: number,
    pages: number,
  ): void {
    const to = targetPage * PAGE_SIZE;
    const from = hostPage * PAGE_SIZE;
    if (this.sharedSource !== null) {
      queue.writeBuffer(target, to, this.sharedSource, from, pages * PAGE_SIZE);
      return;
    }
    this.plain ??= new Uint8Array(PLAIN_PAGES * PAGE_SIZE);
    for (let page = 0; page < pages; page += PLAIN_PAGES) {
      const bytes = Math.min(PLAIN_PAGES, pages - page) * PAGE_SIZE;
      const start = from + page * PAGE_SIZE;
      this.plain.set(this.ram.subarray(start, start + bytes));
      queue.writeBuffer(target, to + page * PAGE_SIZE, this.plain, 0, bytes);
    }
  }
}

/**
 * Runs both loops until the JavaScript engine has compiled them: in the interpreter each 64-bit
 * integer is an object, and the first list would take ten times as long as the next ones.
 */
function warmUp(isPlain: boolean): void {
  const plain = new BigUint64Array(LONGS_PER_PAGE);
  const memory = isPlain ? new ArrayBuffer(PAGE_SIZE) : new SharedArrayBuffer(PAGE_SIZE);
  const shared = new BigUint64Array(memory);
  const fours = new BigUint64Array(FOUR * LONGS_PER_PAGE);
  const hosts = new Uint32Array(FOUR);
  for (let page = 0; page < WARM_PAGES; page++) {
    copyUp(plain, 0, shared, 0, 1);
    copyDown(shared, 0, plain, 0, 1);
    copyFourUp(fours, 0, shared, hosts, 0);
    copyFourDown(shared, hosts, 0, fours, 0);
  }
}

/** As many whole 64-bit integers as there are: checksums behind the pages may end in a half. */
function longsOf(slot: ArrayBuffer): BigUint64Array {
  return new BigUint64Array(slot, 0, Math.floor(slot.byteLength / 8));
}

/** Last segment of the run of neighbours, in RAM and slot, that starts with segment `first`. */
function endOfRun(plan: FlightPlan, kind: number, first: number): number {
  let last = first;
  while (
    last + 1 < plan.length &&
    plan.kind[last + 1] === kind &&
    plan.host[last + 1] === plan.host[last]! + plan.pages[last]! &&
    plan.slot[last + 1] === plan.slot[last]! + plan.pages[last]!
  ) {
    last += 1;
  }
  return last;
}

/** How many RAM pages from `hosts[first]` on lie one behind the other. */
function neighbours(hosts: Uint32Array, first: number, length: number): number {
  let end = first + 1;
  while (end < length && hosts[end] === hosts[end - 1]! + 1) end += 1;
  return end - first;
}

function copyUp(
  target: BigUint64Array,
  to: number,
  source: BigUint64Array,
  from: number,
  pages: number,
): void {
  const longs = pages * LONGS_PER_PAGE;
  for (let i = 0; i < longs; i += 4) {
    target[to + i] = source[from + i]!;
    target[to + i + 1] = source[from + i + 1]!;
    target[to + i + 2] = source[from + i + 2]!;
    target[to + i + 3] = source[from + i + 3]!;
  }
}

/** The same text as `copyUp` on purpose: see the file header. */
function copyDown(
  target: BigUint64Array,
  to: number,
  source: BigUint64Array,
  from: number,
  pages: number,
): void {
  const longs = pages * LONGS_PER_PAGE;
  for (let i = 0; i < longs; i += 4) {
    target[to + i] = source[from + i]!;
    target[to + i + 1] = source[from + i + 1]!;
    target[to + i + 2] = source[from + i + 2]!;
    target[to + i + 3] = source[from + i + 3]!;
  }
}

/** Four pages from RAM, in the order of `hosts` from `at` on. */
function copyFourUp(
  target: BigUint64Array,
  to: number,
  source: BigUint64Array,
  hosts: Uint32Array,
  at: number,
): void {
  const a = hosts[at]! * LONGS_PER_PAGE;
  const b = hosts[at + 1]! * LONGS_PER_PAGE;
  const c = hosts[at + 2]! * LONGS_PER_PAGE;
  const d = hosts[at + 3]! * LONGS_PER_PAGE;
  const to1 = to + LONGS_PER_PAGE;
  const to2 = to + 2 * LONGS_PER_PAGE;
  const to3 = to + 3 * LONGS_PER_PAGE;
  for (let i = 0; i < LONGS_PER_PAGE; i += 4) {
    target[to + i] = source[a + i]!;
    target[to + i + 1] = source[a + i + 1]!;
    target[to + i + 2] = source[a + i + 2]!;
    target[to + i + 3] = source[a + i + 3]!;
    target[to1 + i] = source[b + i]!;
    target[to1 + i + 1] = source[b + i + 1]!;
    target[to1 + i + 2] = source[b + i + 2]!;
    target[to1 + i + 3] = source[b + i + 3]!;
    target[to2 + i] = source[c + i]!;
    target[to2 + i + 1] = source[c + i + 1]!;
    target[to2 + i + 2] = source[c + i + 2]!;
    target[to2 + i + 3] = source[c + i + 3]!;
    target[to3 + i] = source[d + i]!;
    target[to3 + i + 1] = source[d + i + 1]!;
    target[to3 + i + 2] = source[d + i + 2]!;
    target[to3 + i + 3] = source[d + i + 3]!;
  }
}

/** Four pages to RAM. The same text as `copyFourUp` on purpose, too. */
function copyFourDown(
  target: BigUint64Array,
  hosts: Uint32Array,
  at: number,
  source: BigUint64Array,
  from: number,
): void {
  const a = hosts[at]! * LONGS_PER_PAGE;
  const b = hosts[at + 1]! * LONGS_PER_PAGE;
  const c = hosts[at + 2]! * LONGS_PER_PAGE;
  const d = hosts[at + 3]! * LONGS_PER_PAGE;
  const from1 = from + LONGS_PER_PAGE;
  const from2 = from + 2 * LONGS_PER_PAGE;
  const from3 = from + 3 * LONGS_PER_PAGE;
  for (let i = 0; i < LONGS_PER_PAGE; i += 4) {
    target[a + i] = source[from + i]!;
    target[a + i + 1] = source[from + i + 1]!;
    target[a + i + 2] = source[from + i + 2]!;
    target[a + i + 3] = source[from + i + 3]!;
    target[b + i] = source[from1 + i]!;
    target[b + i + 1] = source[from1 + i + 1]!;
    target[b + i + 2] = source[from1 + i + 2]!;
    target[b + i + 3] = source[from1 + i + 3]!;
    target[c + i] = source[from2 + i]!;
    target[c + i + 1] = source[from2 + i + 1]!;
    target[c + i + 2] = source[from2 + i + 2]!;
    target[c + i + 3] = source[from2 + i + 3]!;
    target[d + i] = source[from3 + i]!;
    target[d + i + 1] = source[from3 + i + 1]!;
    target[d + i + 2] = source[from3 + i + 2]!;
    target[d + i + 3] = source[from3 + i + 3]!;
  }
}
