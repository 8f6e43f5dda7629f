/**
 * The thrashing detector of NVIDIA's UVM driver (uvm_perf_thrashing.c, 595.45): sees pages that
 * move to and fro between processors, makes one of them wait (throttling), and in the end keeps the
 * page in one place for a while, mapped remotely by the others (pinning).
 *
 * Processors are numbers: 0 is the CPU, 1 and up are devices. Times are µs of the virtual clock.
 * Pages are numbers over all address spaces; a block is 512 of them.
 *
 * Leaves out: the driver's quirk of a period shared by several devices of one SLI group.
 */
import { bug } from '../../base/assert.ts';
import { BLOCK_PAGES } from './block.ts';

/** What the detector advises for one fault. */
export const HINT_NONE = 0;
/** Leave the fault alone for now; it comes back. */
export const HINT_THROTTLE = 1;
/** Keep or put the page at `pinAt`, and map it remotely for the others. */
export const HINT_PIN = 2;
export type HintKind = typeof HINT_NONE | typeof HINT_THROTTLE | typeof HINT_PIN;

/** Why an event was recorded; a page may have both kinds. */
export const THRASH_MIGRATION = 1;
export const THRASH_REVOCATION = 2;

/** Parameters with the driver's defaults and names. */
export interface ThrashingParams {
  /** Events that make a page a thrashing one (3; 1 to 7). */
  readonly threshold: number;
  /** Throttlings after which a page is pinned (10). */
  readonly pinThreshold: number;
  /** Two events further apart than this are no thrashing, µs (500). */
  readonly lapseUs: number;
  /** Length of a throttling period in lapses (1; up to 100). */
  readonly nap: number;
  /** After so many lapses without thrashing a block is forgotten (2000, one second). */
  readonly epoch: number;
  /** Length of a pin in lapses (300, 150 ms); 0 pins for ever. */
  readonly pin: number;
  /** Times that a block may be forgotten (4). */
  readonly maxResets: number;
  /** 'off' when the user has set the lapse; 'wrap' as the driver does; 'fixed' as it means to. */
  readonly tuning: 'off' | 'wrap' | 'fixed';
}

/** The driver's defaults. */
export const UVM_THRASHING: ThrashingParams = {
  threshold: 3,
  pinThreshold: 10,
  lapseUs: 500,
  nap: 1,
  epoch: 2000,
  pin: 300,
  maxResets: 4,
  tuning: 'wrap',
};

/** Votes that change the lapse. */
const VOTES = 32;
const MIN_LAPSE_US = 5;
const MAX_LAPSE_US = 500_000;
const MAX_LAPSE_STEP_US = 50_000;
/** The driver counts events in three bits. */
const MAX_EVENTS = 7;
const MAX_THROTTLES = 255;
const NOBODY = -1;

/** Who can reach whose memory. */
export interface Topology {
  /** Whether `processor` can map the memory of `owner`. */
  reaches(processor: number, owner: number): boolean;
  /** Whether the link also does atomics natively, and fast. */
  isFast(processor: number, owner: number): boolean;
}

/** A CPU and devices over PCIe: devices reach RAM, nobody reaches a device but itself. */
export const PCIE: Topology = {
  reaches: (processor, owner) => processor === owner || owner === 0,
  isFast: (processor, owner) => processor === owner,
};

/** What the detector counts, as the driver's thrashing_stats do. */
export interface ThrashingStats {
  detected: number;
  throttles: number;
  pinsLocal: number;
  pinsRemote: number;
  unpins: number;
  resets: number;
}

/** The detector of one address space. */
export class ThrashingDetector {
  readonly stats: ThrashingStats = {
    detected: 0,
    throttles: 0,
    pinsLocal: 0,
    pinsRemote: 0,
    unpins: 0,
    resets: 0,
  };
  /** The processor at which the last PIN hint wants the page. */
  pinAt = NOBODY;
  private readonly params: ThrashingParams;
  private readonly topology: Topology;
  private readonly napUs: number;
  private readonly epochUs: number;
  private readonly pinUs: number;
  private lapse: number;
  private vote = 0;
  /** Blocks: time and processor of the last event, whether pages are followed, and so on. */
  private readonly blockTime: Float64Array;
  private readonly blockProcessor: Int8Array;
  private readonly blockFollowed: Uint8Array;
  private readonly blockThrashed: Float64Array;
  private readonly blockResets: Uint8Array;
  private readonly blockPins: Uint16Array;
  /** Pages. */
  private readonly stamp: Float64Array;
  private readonly events: Uint8Array;
  private readonly processors: Uint8Array;
  private readonly throttled: Uint8Array;
  private readonly favoured: Int8Array;
  private readonly periodEnd: Float64Array;
  private readonly throttles: Uint8Array;
  private readonly kinds: Uint8Array;
  private readonly pinned: Int8Array;
  private readonly unpinAt: Float64Array;

  /** @param pageCount pages of the space, whose numbers begin at 0 */
  constructor(pageCount: number, params: ThrashingParams = UVM_THRASHING, topology = PCIE) {
    const blocks = Math.ceil(pageCount / BLOCK_PAGES);
    const pages = blocks * BLOCK_PAGES;
    this.params = params;
    this.topology = topology;
    this.lapse = params.lapseUs;
    // As in the driver, these follow the first lapse and not its tuning.
    this.napUs = params.nap * params.lapseUs;
    this.epochUs = params.epoch * params.lapseUs;
    this.pinUs = params.pin * params.lapseUs;
    this.blockTime = new Float64Array(blocks).fill(-Infinity);
    this.blockProcessor = new Int8Array(blocks).fill(NOBODY);
    this.blockFollowed = new Uint8Array(blocks);
    this.blockThrashed = new Float64Array(blocks);
    this.blockResets = new Uint8Array(blocks);
    this.blockPins = new Uint16Array(blocks);
    this.stamp = new Float64Array(pages);
    this.events = new Uint8Array(pages);
    this.processors = new Uint8Array(pages);
    this.throttled = new Uint8Array(pages);
    this.favoured = new Int8Array(pages).fill(NOBODY);
    this.periodEnd = new Float64Array(pages);
    this.throttles = new Uint8Array(pages);
    this.kinds = new Uint8Array(pages);
    this.pinned = new Int8Array(pages).fill(NOBODY);
    this.unpinAt = new Float64Array(pages);
    for (let block = 0; block < blocks; block++) this.forgetPages(block);
  }

  /** The lapse in force, µs. */
  get lapseUs(): number {
    return this.lapse;
  }

  /** Whether a page counts as thrashing, which keeps it from being prefetched. */
  isThrashing(page: number): boolean {
    return this.events[page]! >= this.params.threshold;
  }

  /** The processor that a page is pinned at, or -1. */
  pinnedAt(page: number): number {
    return this.pinned[page]!;
  }

  /**
   * Notes that a page moved to a processor, or that a processor's permission was revoked.
   *
   * @param page the page that moved; call it for each page of an operation, with the same time
   * @param processor where it moved to, or who asked for the revocation
   *
   * Context: pure. Source: the block event callbacks of uvm_perf_thrashing.c.
   */
  record(page: number, processor: number, nowUs: number, kind = THRASH_MIGRATION): void {
    // A move that a pin itself asked for says nothing new.
    if (this.pinned[page] !== NOBODY) return;
    const block = Math.floor(page / BLOCK_PAGES);
    if (this.blockFollowed[block] === 0) {
      const isClose = nowUs - this.blockTime[block]! <= this.lapse;
      const isOther = this.blockProcessor[block] !== processor;
      const isSecond = isClose && isOther && this.blockProcessor[block] !== NOBODY;
      this.blockTime[block] = nowUs;
      this.blockProcessor[block] = processor;
      if (!isSecond) return;
      this.blockFollowed[block] = 1;
      this.blockThrashed[block] = nowUs;
    }
    this.blockTime[block] = nowUs;
    this.blockProcessor[block] = processor;
    const since = nowUs - this.stamp[page]!;
    const isFirst = this.stamp[page] === -Infinity;
    if (!isFirst && since > this.lapse && this.isThrashing(page)) this.forgetPage(page);
    this.processors[page]! |= 1 << processor;
    this.stamp[page] = nowUs;
    if (isFirst || since > this.lapse) return;
    this.events[page] = Math.min(MAX_EVENTS, this.events[page]! + 1);
    if (this.events[page] === this.params.threshold) this.stats.detected++;
    if (!this.isThrashing(page)) return;
    this.kinds[page]! |= kind;
    this.blockThrashed[block] = nowUs;
  }

  /**
   * Forgets what a page did: it was moved by a user's call, copied, or may be duplicated.
   *
   * Context: pure.
   */
  reset(page: number): void {
    if (this.blockFollowed[Math.floor(page / BLOCK_PAGES)] === 1) this.forgetPage(page);
  }

  /**
   * What to do about a fault, before it is serviced.
   *
   * @param preferred the processor that the user prefers for the page, or -1
   * @param nearest the processor that has the page now, or -1
   * @returns HINT_NONE, HINT_THROTTLE, or HINT_PIN, with `pinAt` set
   *
   * Context: pure. Source: uvm_perf_thrashing_get_hint.
   */
  hint(
    page: number,
    requester: number,
    nowUs: number,
    preferred = NOBODY,
    nearest = NOBODY,
  ): HintKind {
    const block = Math.floor(page / BLOCK_PAGES);
    if (this.blockFollowed[block] === 0) return HINT_NONE;
    this.unpinDue(page, nowUs);
    if (this.isEpochOver(block, nowUs)) {
      this.blockResets[block]!++;
      this.stats.resets++;
      this.forgetBlock(block);
      return HINT_NONE;
    }
    if (!this.isThrashing(page)) return HINT_NONE;
    const bit = 1 << requester;
    if ((this.throttled[page]! & bit) !== 0) {
      const isOver = nowUs >= this.periodEnd[page]! || this.favoured[page] === requester;
      if (!isOver) return this.throttle(page, requester);
      this.throttled[page]! &= ~bit;
      if (this.throttled[page] === 0) this.periodEnd[page] = 0;
    }
    const since = nowUs - this.stamp[page]!;
    this.tune(since);
    if (since > this.lapse && this.pinned[page] === NOBODY) return HINT_NONE;
    this.movePeriod(page, requester, nowUs);
    const isPinned = this.pinned[page] !== NOBODY;
    const hasRevocation = (this.kinds[page]! & THRASH_REVOCATION) !== 0;
    if (isPinned && hasRevocation && this.favoured[page] !== requester) {
      return this.throttle(page, requester);
    }
    return this.choose(page, requester, nowUs, preferred, nearest);
  }

  /** The pin that was advised could not be made, for want of memory: the fault has to wait. */
  pinFailed(page: number, requester: number): HintKind {
    this.unpin(page);
    return this.throttle(page, requester);
  }

  /** When a throttled processor may try again, µs. */
  throttledUntil(page: number): number {
    return this.periodEnd[page]!;
  }

  private movePeriod(page: number, requester: number, nowUs: number): void {
    if (nowUs > this.periodEnd[page]!) {
      this.periodEnd[page] = nowUs + this.napUs;
      this.favoured[page] = this.favoured[page] === requester ? NOBODY : requester;
    } else if (this.favoured[page] === NOBODY) {
      this.favoured[page] = requester;
    }
  }

  /** The first rule that matches, of those that the driver has for pinning. */
  private choose(
    page: number,
    requester: number,
    nowUs: number,
    preferred: number,
    nearest: number,
  ): HintKind {
    const isFavoured = this.favoured[page] === requester;
    const pinned = this.pinned[page]!;
    const isReady = this.throttles[page]! >= this.params.pinThreshold;
    const processors = this.processors[page]! | (1 << requester);
    if (preferred !== NOBODY && this.allReach(processors, preferred)) {
      return this.pin(page, requester, preferred, nowUs);
    }
    const isElsewhere = preferred !== NOBODY && (processors & (1 << preferred)) === 0;
    if (isElsewhere && nearest !== NOBODY && this.allFast(processors, nearest)) {
      const everybodyReaches = requester !== 0 && this.allReach(processors, requester);
      return this.pin(
        page,
        requester,
        nearest === 0 && everybodyReaches ? requester : nearest,
        nowUs,
      );
    }
    if (requester === preferred) {
      if (pinned === requester || (pinned === NOBODY && isFavoured && isReady)) {
        return this.pin(page, requester, requester, nowUs);
      }
      if (pinned === NOBODY && isFavoured) return HINT_NONE;
      return isFavoured && pinned !== NOBODY
        ? this.pin(page, requester, requester, nowUs)
        : this.throttle(page, requester);
    }
    if (pinned !== NOBODY) {
      if (isFavoured)
        return this.pin(page, requester, this.commonPlace(processors, requester), nowUs);
      if (this.topology.reaches(requester, pinned)) return this.pin(page, requester, pinned, nowUs);
      return this.throttle(page, requester);
    }
    if (!isFavoured) return this.throttle(page, requester);
    return isReady ? this.pin(page, requester, requester, nowUs) : HINT_NONE;
  }

  /** Where all of them can reach the page: at the requester, else at another, else nowhere. */
  private commonPlace(processors: number, requester: number): number {
    if (this.allReach(processors, requester)) return requester;
    for (let at = 0; at < 8; at++) {
      if ((processors & (1 << at)) !== 0 && this.allReach(processors, at)) return at;
    }
    return this.allReach(processors, 0) ? 0 : requester;
  }

  private allReach(processors: number, owner: number): boolean {
    for (let at = 0; at < 8; at++) {
      if ((processors & (1 << at)) !== 0 && !this.topology.reaches(at, owner)) return false;
    }
    return true;
  }

  private allFast(processors: number, owner: number): boolean {
    for (let at = 0; at < 8; at++) {
      if ((processors & (1 << at)) !== 0 && !this.topology.isFast(at, owner)) return false;
    }
    return true;
  }

  private throttle(page: number, requester: number): HintKind {
    const bit = 1 << requester;
    if ((this.throttled[page]! & bit) === 0) {
      this.throttled[page]! |= bit;
      // A processor counts once in a period, however often it comes back.
      const isFree = this.pinned[page] === NOBODY;
      if (isFree) this.throttles[page] = Math.min(MAX_THROTTLES, this.throttles[page]! + 1);
      this.stats.throttles++;
    }
    return HINT_THROTTLE;
  }

  private pin(page: number, requester: number, at: number, nowUs: number): HintKind {
    const block = Math.floor(page / BLOCK_PAGES);
    if (this.pinned[page] === NOBODY) {
      this.blockPins[block]!++;
      this.unpinAt[page] = this.pinUs === 0 ? Infinity : nowUs + this.pinUs;
    }
    this.pinned[page] = at;
    this.pinAt = at;
    if (at === requester) this.stats.pinsLocal++;
    else this.stats.pinsRemote++;
    return HINT_PIN;
  }

  /** Ends the pin of a page whose time is over. @returns whether it ended now */
  unpinDue(page: number, nowUs: number): boolean {
    if (this.pinned[page] === NOBODY || nowUs < this.unpinAt[page]!) return false;
    this.unpin(page);
    this.forgetPage(page);
    this.stats.unpins++;
    return true;
  }

  private unpin(page: number): void {
    if (this.pinned[page] === NOBODY) return;
    this.pinned[page] = NOBODY;
    this.blockPins[Math.floor(page / BLOCK_PAGES)]!--;
  }

  private isEpochOver(block: number, nowUs: number): boolean {
    return (
      nowUs - this.blockThrashed[block]! > this.epochUs &&
      this.blockPins[block] === 0 &&
      this.blockResets[block]! < this.params.maxResets
    );
  }

  /** Counts a vote about the lapse, in the signed byte that the driver has for it. */
  private tune(sinceUs: number): void {
    const { tuning } = this.params;
    if (tuning === 'off') return;
    this.vote = wrapByte(this.vote + (sinceUs >= this.lapse ? 1 : -1));
    if (this.vote >= VOTES) {
      const step = Math.min(this.lapse / 8, MAX_LAPSE_STEP_US);
      this.lapse = Math.min(MAX_LAPSE_US, this.lapse + step);
      this.vote = Math.trunc(this.vote / 2);
    } else if (tuning === 'fixed' && this.vote <= -VOTES) {
      this.lapse = Math.max(MIN_LAPSE_US, this.lapse - this.lapse / 8);
      this.vote = Math.trunc(this.vote / 2);
    }
  }

  private forgetBlock(block: number): void {
    if (this.blockPins[block] !== 0) bug('a block with pinned pages is not forgotten');
    this.blockFollowed[block] = 0;
    this.blockProcessor[block] = NOBODY;
    this.blockTime[block] = -Infinity;
    this.forgetPages(block);
  }

  private forgetPages(block: number): void {
    const first = block * BLOCK_PAGES;
    for (let page = first; page < first + BLOCK_PAGES; page++) this.forgetPage(page);
  }

  private forgetPage(page: number): void {
    this.unpin(page);
    this.stamp[page] = -Infinity;
    this.events[page] = 0;
    this.processors[page] = 0;
    this.throttled[page] = 0;
    this.favoured[page] = NOBODY;
    this.periodEnd[page] = 0;
    this.throttles[page] = 0;
    this.kinds[page] = 0;
    this.unpinAt[page] = 0;
  }
}

/** A number as a signed byte keeps it. */
function wrapByte(value: number): number {
  return ((((value + 128) % 256) + 256) % 256) - 128;
}
