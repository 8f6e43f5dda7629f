/**
 * MMU interval notifiers (mm/mmu_notifier.c, include/linux/mmu_notifier.h): how a device learns
 * that part of an address space that it mirrors is about to change, and how it finds out whether
 * what it read from the page tables is still true.
 *
 * Sequence numbers. Those of the address space start at 2: even = idle, odd = a range that somebody
 * watches is being invalidated. Each subscription keeps the odd number of the last invalidation
 * that hit it (or one that was never current). A reader snapshots it (`mmuIntervalReadBegin`),
 * reads the page tables, and under its own lock compares again (`mmuIntervalReadRetry`).
 *
 * While the number is odd the set of subscriptions is frozen: inserts and removals are deferred to
 * the end of the invalidation.
 *
 * Locking: callbacks run synchronously between start and end of an invalidation, under whatever the
 * caller holds; they never wait. Nothing here takes the mmap lock.
 *
 * Leaves out: the older struct mmu_notifier (callbacks for a whole address space) and its
 * registration under the mmap lock.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { isAddress } from '../base/units.ts';
import type { MmStruct } from './mm-types.ts';
import { TRACE_INVALIDATE } from './trace.ts';
import { vmEventIndex } from './vmstat.ts';

/** Why a range is invalidated; values of enum mmu_notifier_event. */
export const MMU_NOTIFY_UNMAP = 0;
export const MMU_NOTIFY_CLEAR = 1;
export const MMU_NOTIFY_PROTECTION_VMA = 2;
export const MMU_NOTIFY_PROTECTION_PAGE = 3;
export const MMU_NOTIFY_SOFT_DIRTY = 4;
export const MMU_NOTIFY_RELEASE = 5;
export const MMU_NOTIFY_MIGRATE = 6;
export const MMU_NOTIFY_EXCLUSIVE = 7;

/** The end of the RELEASE range (ULONG_MAX): above every address. */
export const END_OF_ADDRESSES = Number.MAX_SAFE_INTEGER;
/** Sequence number of an address space that was never invalidated. */
const FIRST_SEQ = 2;

const MMU_INVALIDATE = vmEventIndex('mmu_invalidate');

/**
 * An invalidation in progress (struct mmu_notifier_range). Call sites keep one and fill it in with
 * mmuNotifierRangeInit; callbacks must not keep it.
 */
export class MmuNotifierRange {
  mm!: MmStruct;
  /** First byte, and one past the last. */
  start = 0;
  end = 0;
  /** MMU_NOTIFY_*. */
  event = MMU_NOTIFY_UNMAP;
  /** Who caused a MIGRATE or EXCLUSIVE event, compared by identity; null for all others. */
  owner: unknown = null;
  /** False when callbacks must not wait for anything. Set by the start functions. */
  blockable = true;
  /** The subscriptions that `start` counted this range at; null outside start and end. */
  entered: MmuNotifierSubscriptions | null = null;
}

/** Callbacks of a subscription (struct mmu_interval_notifier_ops). */
export interface MmuIntervalNotifierOps {
  /**
   * The range is about to change. The callback stores `curSeq` with mmuIntervalSetSeq, unless it
   * filters an event of its own, and stops the device's use of the range before it returns.
   *
   * @returns true; false only where `range.blockable` is false and the callback would have to wait:
   * then it must not have changed anything.
   */
  readonly invalidate: (
    sub: MmuIntervalNotifier,
    range: MmuNotifierRange,
    curSeq: number,
  ) => boolean;
}

/** A subscription to [start, last] of an address space (struct mmu_interval_notifier). */
export interface MmuIntervalNotifier {
  /** Null until inserted. */
  mm: MmStruct | null;
  /** First and last byte. */
  start: number;
  last: number;
  /** Odd; the number of the last invalidation that hit this subscription. */
  invalidateSeq: number;
  ops: MmuIntervalNotifierOps | null;
  /** Whatever the driver wants to find in its callback. */
  readonly driverData: unknown;
}

/** A subscription that is not inserted yet. Our own: Linux embeds the struct in the driver's. */
export function newMmuIntervalNotifier(driverData: unknown): MmuIntervalNotifier {
  return { mm: null, start: 0, last: 0, invalidateSeq: 1, ops: null, driverData };
}

/** The notifier state of one address space (struct mmu_notifier_subscriptions). */
export class MmuNotifierSubscriptions {
  invalidateSeq = FIRST_SEQ;
  /** Invalidations between start and end, whether they hit somebody or not. */
  activeInvalidateRanges = 0;
  /** Sorted by start; a plain array where Linux has an interval tree. */
  private readonly subs: MmuIntervalNotifier[] = [];
  /** Inserts and removals that wait for the end of an invalidation, in order. */
  private deferred: MmuIntervalNotifier[] = [];
  private wakeups: (() => void)[] = [];

  /** True while a watched range is being invalidated (mn_itree_is_invalidating). */
  get isInvalidating(): boolean {
    return (this.invalidateSeq & 1) !== 0;
  }

  /** Subscriptions that invalidations look at. */
  get size(): number {
    return this.subs.length;
  }

  has(sub: MmuIntervalNotifier): boolean {
    return this.subs.includes(sub);
  }

  /** Resolves at the end of the invalidation in progress. */
  waitForEnd(): Promise<void> {
    return new Promise((resolve) => this.wakeups.push(resolve));
  }

  /** __mmu_interval_notifier_insert, without the argument checks. */
  insert(sub: MmuIntervalNotifier): void {
    if (this.activeInvalidateRanges === 0) {
      assert(!this.isInvalidating, 'I32: the sequence is odd only during an invalidation');
      // Odd, and never a number that is current: nothing has hit this subscription yet.
      sub.invalidateSeq = this.invalidateSeq - 1;
      this.link(sub);
      return;
    }
    // The invalidations in progress may cover the new range: they count as having hit it.
    if (this.isInvalidating) {
      this.deferred.push(sub);
    } else {
      this.invalidateSeq |= 1;
      this.link(sub);
    }
    sub.invalidateSeq = this.invalidateSeq;
  }

  /** Takes `sub` out, or defers it. @returns true when the caller has to wait for the end. */
  remove(sub: MmuIntervalNotifier): boolean {
    if (!this.isInvalidating) {
      this.unlink(sub);
      return false;
    }
    if (this.has(sub)) {
      this.deferred.push(sub);
      return true;
    }
    const at = this.deferred.indexOf(sub);
    assert(at >= 0, 'I23: a subscription that is removed was inserted');
    this.deferred.splice(at, 1);
    return false;
  }

  /**
   * mn_itree_inv_start_range.
   *
   * @returns the place of the first subscription that overlaps [start, end), -1 when none does.
   */
  begin(start: number, end: number): number {
    this.activeInvalidateRanges++;
    const first = this.firstOverlapping(start, end);
    if (first >= 0) this.invalidateSeq |= 1;
    return first;
  }

  /**
   * Calls back every subscription that overlaps the range.
   *
   * @param first The first of them. @returns false when one would wait.
   */
  notify(range: MmuNotifierRange, first: number): boolean {
    const { subs, invalidateSeq: curSeq } = this;
    const { start, end } = range;
    for (let at = first; at < subs.length; at++) {
      const sub = subs[at]!;
      if (sub.start >= end) break;
      if (sub.last < start || sub.ops?.invalidate(sub, range, curSeq) === true) continue;
      assert(!range.blockable, 'I24: only a range that must not wait may be refused');
      return false;
    }
    return true;
  }

  /** mn_itree_inv_end. */
  finish(): void {
    assert(this.activeInvalidateRanges > 0, 'I32: an invalidation that ends has begun');
    this.activeInvalidateRanges--;
    if (this.activeInvalidateRanges > 0 || !this.isInvalidating) return;
    this.invalidateSeq++;
    if (this.deferred.length > 0) this.applyDeferred();
    if (this.wakeups.length > 0) this.wakeAll();
  }

  private applyDeferred(): void {
    const { deferred } = this;
    this.deferred = [];
    for (const sub of deferred) {
      if (this.has(sub)) this.unlink(sub);
      else this.link(sub);
    }
  }

  private wakeAll(): void {
    const { wakeups } = this;
    this.wakeups = [];
    for (const wake of wakeups) wake();
  }

  private firstOverlapping(start: number, end: number): number {
    const { subs } = this;
    for (let at = 0; at < subs.length; at++) {
      const sub = subs[at]!;
      if (sub.start >= end) return -1;
      if (sub.last >= start) return at;
    }
    return -1;
  }

  private link(sub: MmuIntervalNotifier): void {
    let at = this.subs.length;
    while (at > 0 && this.subs[at - 1]!.start > sub.start) at--;
    this.subs.splice(at, 0, sub);
  }

  private unlink(sub: MmuIntervalNotifier): void {
    const at = this.subs.indexOf(sub);
    assert(at >= 0, 'I23: a subscription that is removed was inserted');
    this.subs.splice(at, 1);
  }
}

/**
 * Fills in a range before it is started (mmu_notifier_range_init, mmu_notifier_range_init_owner).
 *
 * @param event MMU_NOTIFY_*. @param start First byte. @param end One past the last byte.
 * @param owner Of MIGRATE and EXCLUSIVE events; null for the others.
 */
export function mmuNotifierRangeInit(
  range: MmuNotifierRange,
  event: number,
  mm: MmStruct,
  start: number,
  end: number,
  owner: unknown = null,
): void {
  assert(range.entered === null, 'I25: a range is filled in before it starts');
  range.mm = mm;
  range.event = event;
  range.start = start;
  range.end = end;
  range.owner = owner;
}

/**
 * Tells every subscription that overlaps the range that it is about to change
 * (mmu_notifier_invalidate_range_start). When it returns no device uses the range any more.
 *
 * Context: before the page table changes; callbacks may take driver locks. Ended by
 * mmuNotifierInvalidateRangeEnd.
 */
export function mmuNotifierInvalidateRangeStart(range: MmuNotifierRange): void {
  if (range.mm.notifierSubscriptions !== null) startRange(range, true);
}

/**
 * Like mmuNotifierInvalidateRangeStart for callers that can't wait (the OOM reaper).
 *
 * @returns 0; EAGAIN when a callback would have to wait: the page table must stay as it is, and the
 * range counts as ended.
 */
export function mmuNotifierInvalidateRangeStartNonblock(range: MmuNotifierRange): number {
  return range.mm.notifierSubscriptions === null ? 0 : startRange(range, false);
}

/**
 * Ends an invalidation (mmu_notifier_invalidate_range_end): readers may look at the page tables
 * again.
 *
 * Context: after the page table changed and TLBs were flushed.
 */
export function mmuNotifierInvalidateRangeEnd(range: MmuNotifierRange): void {
  // A subscription that came in the middle does not know of this range.
  const subscriptions = range.entered;
  if (subscriptions === null) return;
  range.entered = null;
  subscriptions.finish();
}

function startRange(range: MmuNotifierRange, blockable: boolean): number {
  const subscriptions = range.mm.notifierSubscriptions;
  if (subscriptions === null) return 0;
  assert(range.entered === null, 'I25: a range is filled in before it starts');
  range.blockable = blockable;
  range.entered = subscriptions;
  const first = subscriptions.begin(range.start, range.end);
  if (first < 0) return 0;
  const { trace, vmstat } = range.mm.sys;
  vmstat.add(MMU_INVALIDATE, 1);
  const since = trace?.nowMs() ?? 0;
  const isTold = subscriptions.notify(range, first);
  trace?.emit(TRACE_INVALIDATE, range.mm, range.start, range.end, since, range.event, 0, 0);
  if (isTold) return 0;
  mmuNotifierInvalidateRangeEnd(range);
  return errno.EAGAIN;
}

/**
 * Subscribes to [start, start + length) of an address space (mmu_interval_notifier_insert). While
 * an invalidation is in progress the new subscription counts as hit by it.
 *
 * @param length Bytes. @returns 0; EOVERFLOW for a length of 0, a range that wraps, or numbers that
 * are no addresses; EINVAL when the address space is dead. Context: not from a callback's own
 * range; never waits.
 */
export function mmuIntervalNotifierInsert(
  sub: MmuIntervalNotifier,
  mm: MmStruct,
  start: number,
  length: number,
  ops: MmuIntervalNotifierOps,
): number {
  if (!isAddress(start) || !isAddress(length) || length === 0) return errno.EOVERFLOW;
  if (length - 1 > Number.MAX_SAFE_INTEGER - start) return errno.EOVERFLOW;
  if (mm.users <= 0) return errno.EINVAL;
  assert(sub.mm === null, 'I23: a subscription is inserted once');
  sub.mm = mm;
  sub.start = start;
  sub.last = start + (length - 1);
  sub.ops = ops;
  mm.notifierSubscriptions ??= new MmuNotifierSubscriptions();
  mm.notifierSubscriptions.insert(sub);
  return 0;
}

/**
 * mmuIntervalNotifierInsert for callers that hold the mmap lock for write, so that nothing can
 * change between the insert and their first look at the page tables
 * (mmu_interval_notifier_insert_locked).
 */
export function mmuIntervalNotifierInsertLocked(
  sub: MmuIntervalNotifier,
  mm: MmStruct,
  start: number,
  length: number,
  ops: MmuIntervalNotifierOps,
): number {
  assert(mm.mmapLock.isWriteLocked, 'I26: the mmap lock is held for write');
  return mmuIntervalNotifierInsert(sub, mm, start, length, ops);
}

/**
 * Ends a subscription (mmu_interval_notifier_remove). Afterwards its callback never runs again, and
 * it may be inserted anew.
 *
 * Context: not from a callback, nor holding a lock that callbacks take; waits for the end of the
 * invalidation in progress.
 */
export function mmuIntervalNotifierRemove(sub: MmuIntervalNotifier): MaybePromise<void> {
  const subscriptions = sub.mm?.notifierSubscriptions ?? null;
  assert(subscriptions !== null, 'I23: a subscription that is removed was inserted');
  if (!subscriptions.remove(sub)) {
    sub.mm = null;
    return;
  }
  return subscriptions.waitForEnd().then(() => {
    sub.mm = null;
  });
}

/**
 * Starts reading the page tables of the subscribed range (mmu_interval_read_begin).
 *
 * @returns the number to give to mmuIntervalReadRetry. It may be out of date already.
 * Context: no lock held that callbacks take; waits while the range is being invalidated.
 */
export function mmuIntervalReadBegin(sub: MmuIntervalNotifier): MaybePromise<number> {
  const subscriptions = sub.mm?.notifierSubscriptions ?? null;
  assert(subscriptions !== null, 'I23: a subscription that is read was inserted');
  const seq = sub.invalidateSeq;
  // Equal only while the invalidation that hit this subscription has not ended: both are odd then.
  if (subscriptions.invalidateSeq !== seq) return seq;
  return subscriptions.waitForEnd().then(() => seq);
}

/**
 * True when what was read since mmuIntervalReadBegin may be out of date: discard it and begin again
 * (mmu_interval_read_retry).
 *
 * Context: under the driver lock that the callback takes, or in one breath with using what was
 * read.
 */
export function mmuIntervalReadRetry(sub: MmuIntervalNotifier, seq: number): boolean {
  return sub.invalidateSeq !== seq;
}

/**
 * A hint before the work of a read is done: true is reliable, false is not
 * (mmu_interval_check_retry).
 *
 * Context: any.
 */
export function mmuIntervalCheckRetry(sub: MmuIntervalNotifier, seq: number): boolean {
  return sub.invalidateSeq !== seq;
}

/**
 * Notes that an invalidation hit the subscription (mmu_interval_set_seq).
 *
 * @param curSeq What the callback was given. Context: from the callback, under the driver lock.
 */
export function mmuIntervalSetSeq(sub: MmuIntervalNotifier, curSeq: number): void {
  sub.invalidateSeq = curSeq;
}

const releaseRange = new MmuNotifierRange();

/**
 * The address space dies: one RELEASE event over all addresses to every subscription, before any
 * page goes (mmu_notifier_release). Subscriptions stay until they are removed.
 *
 * Context: last user gone; never waits.
 */
export function mmuNotifierRelease(mm: MmStruct): void {
  mmuNotifierRangeInit(releaseRange, MMU_NOTIFY_RELEASE, mm, 0, END_OF_ADDRESSES);
  mmuNotifierInvalidateRangeStart(releaseRange);
  mmuNotifierInvalidateRangeEnd(releaseRange);
}
