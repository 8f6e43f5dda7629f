import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { mmput } from '../../../src/mm/fork.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import * as notifier from '../../../src/mm/mmu-notifier.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_MIGRATE,
  MMU_NOTIFY_RELEASE,
  MMU_NOTIFY_UNMAP,
  MmuNotifierRange,
  mmuIntervalCheckRetry,
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierInsertLocked,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierInvalidateRangeStartNonblock,
  mmuNotifierRangeInit,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import type { MmuIntervalNotifier } from '../../../src/mm/mmu-notifier.ts';
import { expectSync, makeMm, makeSystem, mapAnon, store } from './fixture.ts';

/** A subscription that counts what it is told. */
class Watcher {
  readonly sub: MmuIntervalNotifier = newMmuIntervalNotifier(this);
  calls = 0;
  /** [event, start, end, owner, blockable] of the last call. */
  last: unknown[] = [];
  /** Stores the sequence, as a driver has to that does not filter the event. */
  setsSeq = true;
  answer = true;
  order: Watcher[] | null = null;

  insert(mm: MmStruct, start: number, length: number): number {
    return mmuIntervalNotifierInsert(this.sub, mm, start, length, {
      invalidate: (sub, range, curSeq) => {
        expect(sub).toBe(this.sub);
        this.calls++;
        this.order?.push(this);
        this.last = [range.event, range.start, range.end, range.owner, range.blockable];
        if (this.answer && this.setsSeq) mmuIntervalSetSeq(sub, curSeq);
        return this.answer;
      },
    });
  }
}

function watcherOn(mm: MmStruct, start = 0x10000, length = 0x10000): Watcher {
  const watcher = new Watcher();
  expect(watcher.insert(mm, start, length)).toBe(0);
  return watcher;
}

/** Starts an invalidation; ended by mmuNotifierInvalidateRangeEnd. */
function begin(mm: MmStruct, start = 0x10000, end = 0x20000): MmuNotifierRange {
  const range = new MmuNotifierRange();
  mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, start, end);
  mmuNotifierInvalidateRangeStart(range);
  return range;
}

const end = mmuNotifierInvalidateRangeEnd;

function seqOf(mm: MmStruct): number {
  return mm.notifierSubscriptions?.invalidateSeq ?? -1;
}

/** True when the promise has settled after all microtasks that are queued now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  for (let i = 0; i < 10; i++) await Promise.resolve();
  return settled;
}

test('events have the kernel numbers [F92]', () => {
  const events = ['UNMAP', 'CLEAR', 'PROTECTION_VMA', 'PROTECTION_PAGE', 'SOFT_DIRTY', 'RELEASE'];
  const names = [...events, 'MIGRATE', 'EXCLUSIVE'].map((name) => `MMU_NOTIFY_${name}`);
  const values = names.map((name) => (notifier as unknown as Record<string, number>)[name]);
  expect(values).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

describe('without subscriptions', () => {
  test('an address space has no notifier state, and invalidations cost nothing', () => {
    const mm = makeMm(makeSystem());
    const range = begin(mm);
    end(range);
    expect(mm.notifierSubscriptions).toBeNull();
    expect(mm.sys.vmstat.read('mmu_invalidate')).toBe(0);
  });

  test('one that is inserted in the middle of an invalidation does not count its end', () => {
    const mm = makeMm(makeSystem());
    const range = begin(mm);
    const watcher = watcherOn(mm);
    end(range);
    expect(mm.notifierSubscriptions?.activeInvalidateRanges).toBe(0);
    end(begin(mm));
    expect(watcher.calls).toBe(1);
  });
});

describe('insert [F88]', () => {
  test('refuses a length of 0 and a range that wraps, and takes one that just fits', () => {
    const mm = makeMm(makeSystem());
    const watcher = new Watcher();
    const top = Number.MAX_SAFE_INTEGER;
    expect(watcher.insert(mm, 0x1000, 0)).toBe(errno.EOVERFLOW);
    expect(watcher.insert(mm, top, 2)).toBe(errno.EOVERFLOW);
    expect(watcher.insert(mm, -1, 1)).toBe(errno.EOVERFLOW);
    expect(watcher.insert(mm, 0, 1.5)).toBe(errno.EOVERFLOW);
    expect(mm.notifierSubscriptions).toBeNull();
    expect(watcher.insert(mm, top, 1)).toBe(0);
    expect([watcher.sub.start, watcher.sub.last]).toEqual([top, top]);
  });

  test('refuses a dead address space', () => {
    const mm = makeMm(makeSystem());
    expectSync(mmput(mm));
    expect(new Watcher().insert(mm, 0, 1)).toBe(errno.EINVAL);
  });

  test('starts at sequence 2, the subscription with an odd number that is not current', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    expect([seqOf(mm), watcher.sub.invalidateSeq]).toEqual([2, 1]);
    end(begin(mm));
    expect([seqOf(mm), watcherOn(mm).sub.invalidateSeq]).toEqual([4, 3]);
  });

  test('during an invalidation that hits somebody it is deferred, and counts as hit', async () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    const range = begin(mm);
    const late = watcherOn(mm);
    expect([seqOf(mm), late.sub.invalidateSeq]).toEqual([3, 3]);
    expect(mm.notifierSubscriptions?.has(late.sub)).toBe(false);
    const second = begin(mm);
    expect(late.calls).toBe(0);
    const reading = Promise.resolve(mmuIntervalReadBegin(late.sub));
    end(second);
    expect(await isSettled(reading)).toBe(false);
    end(range);
    expect(await reading).toBe(3);
    expect(mm.notifierSubscriptions?.has(late.sub)).toBe(true);
    end(begin(mm));
    expect(late.calls).toBe(1);
  });

  test('during an invalidation that hits nobody it makes the sequence odd', async () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    const range = begin(mm, 0x90000, 0xa0000);
    expect(seqOf(mm)).toBe(2);
    const late = watcherOn(mm, 0x90000, 0x1000);
    expect([seqOf(mm), late.sub.invalidateSeq]).toEqual([3, 3]);
    const reading = Promise.resolve(mmuIntervalReadBegin(late.sub));
    expect(await isSettled(reading)).toBe(false);
    end(range);
    expect(await reading).toBe(3);
    expect(seqOf(mm)).toBe(4);
    expect(late.calls).toBe(0);
  });

  test('I23: a subscription is inserted once, and can be again after it was removed', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    expect(() => watcher.insert(mm, 0, 1)).toThrow('I23');
    expectSync(mmuIntervalNotifierRemove(watcher.sub));
    expect(watcher.insert(mm, 0, 1)).toBe(0);
  });

  test('I26: the locked form needs the mmap lock for write', () => {
    const mm = makeMm(makeSystem());
    const sub = newMmuIntervalNotifier(null);
    const insert = () => mmuIntervalNotifierInsertLocked(sub, mm, 0, 1, { invalidate: () => true });
    expectSync(mm.mmapLock.readLock());
    expect(insert).toThrow('I26');
    mm.mmapLock.readUnlock();
    expectSync(mm.mmapLock.writeLock());
    expect(insert()).toBe(0);
    mm.mmapLock.writeUnlock();
  });
});

describe('remove [F88]', () => {
  test('while idle it is done at once, and no callback runs any more', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    expect(mmuIntervalNotifierRemove(watcher.sub)).toBeUndefined();
    end(begin(mm));
    expect(watcher.calls).toBe(0);
    expect([seqOf(mm), mm.notifierSubscriptions?.size]).toEqual([2, 0]);
  });

  test('during an invalidation it waits for the end', async () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const range = begin(mm);
    const removed = Promise.resolve(mmuIntervalNotifierRemove(watcher.sub));
    expect(await isSettled(removed)).toBe(false);
    const second = begin(mm);
    expect(watcher.calls).toBe(2);
    end(second);
    expect(await isSettled(removed)).toBe(false);
    end(range);
    await removed;
    end(begin(mm));
    expect(watcher.calls).toBe(2);
    expect(mm.notifierSubscriptions?.size).toBe(0);
  });

  test('during an invalidation that hits nobody it does not wait', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const range = begin(mm, 0x90000, 0xa0000);
    expectSync(mmuIntervalNotifierRemove(watcher.sub));
    end(range);
    expect(mm.notifierSubscriptions?.size).toBe(0);
  });

  test('of a deferred insert takes it back without a wait', () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    const range = begin(mm);
    const late = watcherOn(mm);
    expectSync(mmuIntervalNotifierRemove(late.sub));
    end(range);
    expect(mm.notifierSubscriptions?.size).toBe(1);
    end(begin(mm));
    expect(late.calls).toBe(0);
  });

  test('I23: what was never inserted can be neither removed nor read', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const stranger = newMmuIntervalNotifier(null);
    expect(() => mmuIntervalNotifierRemove(stranger)).toThrow('I23');
    expect(() => mmuIntervalReadBegin(stranger)).toThrow('I23');
    expectSync(mmuIntervalNotifierRemove(watcher.sub));
    expect(() => mmuIntervalNotifierRemove(watcher.sub)).toThrow('I23');
  });
});

describe('sequence numbers [F90]', () => {
  test('odd while a watched range is invalidated, the next even number afterwards', () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    const range = begin(mm);
    expect(seqOf(mm)).toBe(3);
    end(range);
    expect(seqOf(mm)).toBe(4);
    expect(mm.sys.vmstat.read('mmu_invalidate')).toBe(1);
  });

  test('overlapping invalidations end together: one step for all', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const first = begin(mm);
    const second = begin(mm);
    const third = begin(mm, 0x90000, 0xa0000);
    end(first);
    end(second);
    expect([seqOf(mm), watcher.calls]).toEqual([3, 2]);
    end(third);
    expect(seqOf(mm)).toBe(4);
  });

  test('a range that nobody watches is active, and changes no number', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const range = begin(mm, 0x90000, 0xa0000);
    expect([seqOf(mm), mm.notifierSubscriptions?.activeInvalidateRanges]).toEqual([2, 1]);
    end(range);
    expect([seqOf(mm), mm.notifierSubscriptions?.activeInvalidateRanges]).toEqual([2, 0]);
    expect([watcher.calls, mm.sys.vmstat.read('mmu_invalidate')]).toEqual([0, 0]);
  });

  test.each([
    ['ends where it starts', 0xf000, 0x10000, 0],
    ['reaches its first byte', 0xf000, 0x10001, 1],
    ['lies inside', 0x14000, 0x15000, 1],
    ['covers it', 0, TASK_SIZE, 1],
    ['has its last byte', 0x1ffff, 0x21000, 1],
    ['starts behind its last byte', 0x20000, 0x21000, 0],
  ])('an invalidation that %s', (_what, start, stop, calls) => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm, 0x10000, 0x10000);
    end(begin(mm, start, stop));
    expect(watcher.calls).toBe(calls);
    expect(seqOf(mm)).toBe(calls === 1 ? 4 : 2);
  });

  test('every subscription that overlaps is called once, by address', () => {
    const mm = makeMm(makeSystem());
    const order: Watcher[] = [];
    const starts = [0x50000, 0x10000, 0x30000, 0x20000, 0x90000];
    const watchers = starts.map((start) => watcherOn(mm, start, 0x8000));
    const wide = watcherOn(mm, 0, TASK_SIZE);
    for (const watcher of [...watchers, wide]) watcher.order = order;
    end(begin(mm, 0x20000, 0x58000));
    expect(order).toEqual([wide, watchers[3], watchers[2], watchers[0]]);
  });

  test('I32: an end without a start is a bug', () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    expect(() => mm.notifierSubscriptions?.finish()).toThrow('I32');
  });

  test('I25: a range that is in progress is neither filled in nor started again', () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm);
    const range = begin(mm);
    expect(() => mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, 0, 1)).toThrow('I25');
    expect(() => mmuNotifierInvalidateRangeStart(range)).toThrow('I25');
    end(range);
    mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, 0, 1);
  });
});

describe('reading [F89]', () => {
  test('does not wait while idle, nor when another subscription is being hit', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const other = watcherOn(mm, 0x90000, 0x1000);
    expect(expectSync(mmuIntervalReadBegin(watcher.sub))).toBe(1);
    const range = begin(mm);
    expect(expectSync(mmuIntervalReadBegin(other.sub))).toBe(1);
    end(range);
    expect(expectSync(mmuIntervalReadBegin(watcher.sub))).toBe(3);
  });

  test('waits while its own range is being invalidated, then needs no retry', async () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const range = begin(mm);
    const reading = Promise.resolve(mmuIntervalReadBegin(watcher.sub));
    expect(await isSettled(reading)).toBe(false);
    end(range);
    const seq = await reading;
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(false);
  });

  test('everybody who waits goes on at the end', async () => {
    const mm = makeMm(makeSystem());
    const watchers = [watcherOn(mm), watcherOn(mm), watcherOn(mm)];
    const range = begin(mm);
    const readings = watchers.map(({ sub }) => Promise.resolve(mmuIntervalReadBegin(sub)));
    const removal = mmuIntervalNotifierRemove(watchers[2]!.sub);
    end(range);
    expect(await Promise.all(readings)).toEqual([3, 3, 3]);
    await removal;
    expect(mm.notifierSubscriptions?.size).toBe(2);
  });

  test('has to be tried again when an invalidation hit it in between', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const seq = expectSync(mmuIntervalReadBegin(watcher.sub));
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(false);
    expect(mmuIntervalCheckRetry(watcher.sub, seq)).toBe(false);
    const range = begin(mm);
    expect(mmuIntervalCheckRetry(watcher.sub, seq)).toBe(true);
    end(range);
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(true);
  });

  test('is not disturbed by an invalidation elsewhere', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const seq = expectSync(mmuIntervalReadBegin(watcher.sub));
    end(begin(mm, 0x20000, 0x30000));
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(false);
  });

  test('is not disturbed by an event that its driver filtered by owner [F93]', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    watcher.setsSeq = false;
    const seq = expectSync(mmuIntervalReadBegin(watcher.sub));
    const owner = { name: 'me' };
    const range = new MmuNotifierRange();
    mmuNotifierRangeInit(range, MMU_NOTIFY_MIGRATE, mm, 0x10000, 0x20000, owner);
    mmuNotifierInvalidateRangeStart(range);
    expect(watcher.last).toEqual([MMU_NOTIFY_MIGRATE, 0x10000, 0x20000, owner, true]);
    // Its number is not the current one: it was not hit.
    expect(expectSync(mmuIntervalReadBegin(watcher.sub))).toBe(seq);
    end(range);
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(false);
  });

  test('a reused range forgets the owner of the last event [F93]', () => {
    const mm = makeMm(makeSystem());
    const watcher = watcherOn(mm);
    const range = new MmuNotifierRange();
    mmuNotifierRangeInit(range, MMU_NOTIFY_MIGRATE, mm, 0x10000, 0x20000, { name: 'me' });
    mmuNotifierRangeInit(range, MMU_NOTIFY_CLEAR, mm, 0x10000, 0x20000);
    mmuNotifierInvalidateRangeStart(range);
    end(range);
    expect(watcher.last[3]).toBeNull();
  });

  test('munmap between read and use is noticed [F95]', () => {
    const mm = makeMm(makeSystem());
    const addr = mapAnon(mm, 4);
    store(mm, addr, 1);
    const watcher = watcherOn(mm, addr, 2 * PAGE_SIZE);
    const seq = expectSync(mmuIntervalReadBegin(watcher.sub));
    expectSync(doMunmap(mm, addr + 2 * PAGE_SIZE, PAGE_SIZE));
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(false);
    expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE));
    expect(mmuIntervalReadRetry(watcher.sub, seq)).toBe(true);
    expect(watcher.last[0]).toBe(MMU_NOTIFY_UNMAP);
  });
});

describe('ranges that must not wait [F91]', () => {
  function nonblock(mm: MmStruct): { status: number; range: MmuNotifierRange } {
    const range = new MmuNotifierRange();
    mmuNotifierRangeInit(range, MMU_NOTIFY_UNMAP, mm, 0x10000, 0x20000);
    return { status: mmuNotifierInvalidateRangeStartNonblock(range), range };
  }

  test('succeed when no callback would wait; callbacks see that they must not', () => {
    const mm = makeMm(makeSystem());
    expect(nonblock(mm).status).toBe(0);
    const watcher = watcherOn(mm);
    const { status, range } = nonblock(mm);
    expect([status, watcher.last[4], seqOf(mm)]).toEqual([0, false, 3]);
    end(range);
    expect(seqOf(mm)).toBe(4);
  });

  test('are EAGAIN when one would, and count as ended for those already told', () => {
    const mm = makeMm(makeSystem());
    const first = watcherOn(mm, 0x10000, 0x1000);
    const busy = watcherOn(mm, 0x11000, 0x1000);
    const third = watcherOn(mm, 0x12000, 0x1000);
    busy.answer = false;
    const { status, range } = nonblock(mm);
    expect(status).toBe(errno.EAGAIN);
    expect([first.calls, busy.calls, third.calls]).toEqual([1, 1, 0]);
    expect([seqOf(mm), mm.notifierSubscriptions?.activeInvalidateRanges]).toEqual([4, 0]);
    expect([first.sub.invalidateSeq, busy.sub.invalidateSeq]).toEqual([3, 1]);
    // An end would be a second one; it is harmless.
    end(range);
    expect(seqOf(mm)).toBe(4);
  });

  test('I24: a refusal where the caller can wait is a bug of the driver', () => {
    const mm = makeMm(makeSystem());
    watcherOn(mm).answer = false;
    expect(() => begin(mm)).toThrow('I24');
  });
});

describe('exit', () => {
  test('sends one RELEASE over all addresses to each subscription, without an owner', () => {
    const mm = makeMm(makeSystem());
    const watchers = [watcherOn(mm, 0, 1), watcherOn(mm, TASK_SIZE, 0x1000)];
    expectSync(mmput(mm));
    for (const watcher of watchers) {
      const [event, start, stop, owner] = watcher.last;
      expect([watcher.calls, event, start, owner]).toEqual([1, MMU_NOTIFY_RELEASE, 0, null]);
      expect(stop).toBeGreaterThan(TASK_SIZE);
    }
    for (const watcher of watchers) expectSync(mmuIntervalNotifierRemove(watcher.sub));
    expect(mm.notifierSubscriptions?.size).toBe(0);
  });
});
