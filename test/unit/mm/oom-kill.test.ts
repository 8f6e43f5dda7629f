/* The OOM reaper, and what an address space is afterwards. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  MMU_NOTIFY_UNMAP,
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import type { MmuIntervalNotifier } from '../../../src/mm/mmu-notifier.ts';
import { oomReapTaskMm } from '../../../src/mm/oom-kill.ts';
import { FAULT_SIGBUS } from '../../../src/mm/uaccess.ts';
import {
  expectSync,
  load,
  loadOutcome,
  mapAnon,
  mapShared,
  pteAt,
  store,
  storeOutcome,
} from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

interface Subscriber {
  readonly sub: MmuIntervalNotifier;
  readonly seen: { readonly event: number; readonly blockable: boolean }[];
  mayWait: boolean;
}

/** A driver that would have to wait as long as `mayWait` is set. */
function subscribe(start: number, pages: number, mayWait: boolean): Subscriber {
  const subscriber: Subscriber = { sub: newMmuIntervalNotifier(null), seen: [], mayWait };
  const status = mmuIntervalNotifierInsert(subscriber.sub, bench.mm, start, pages * PAGE_SIZE, {
    invalidate: (sub, range, curSeq) => {
      subscriber.seen.push({ event: range.event, blockable: range.blockable });
      if (!range.blockable && subscriber.mayWait) return false;
      mmuIntervalSetSeq(sub, curSeq);
      return true;
    },
  });
  expect(status).toBe(0);
  return subscriber;
}

describe('reaping', () => {
  test('takes private pages, those on the device too, and leaves shared ones [F103]', () => {
    const { mm, device } = bench;
    const away = mapOnDevice(bench, 2);
    const shared = mapShared(mm, 1);
    store(mm, shared, 7);
    expect(oomReapTaskMm(mm)).toBe(0);
    expect([mm.anonRss, device.used, device.faults]).toEqual([0, 0, 0]);
    expect([pteAt(mm, away), load(mm, shared)]).toEqual([0, 7]);
    expect([mm.isUnstable, mm.mmapLock.isLocked]).toEqual([true, false]);
  });

  test('what is missing is SIGBUS, not zeroes', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 2);
    expect(oomReapTaskMm(mm)).toBe(0);
    expect([loadOutcome(mm, addr), storeOutcome(mm, addr + PAGE_SIZE)]).toEqual([
      FAULT_SIGBUS,
      FAULT_SIGBUS,
    ]);
  });

  test('what is missing of a shared mapping can still be had: nobody took it', () => {
    const { mm } = bench;
    const shared = mapShared(mm, 2);
    expect(oomReapTaskMm(mm)).toBe(0);
    expect(load(mm, shared)).toBe(0);
    store(mm, shared + PAGE_SIZE, 7);
    expect(load(mm, shared + PAGE_SIZE)).toBe(7);
  });

  test('a relative that shares the pages keeps them', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const child = expectSync(dupMmap(mm));
    if (typeof child === 'number') throw new Error(`fork: ${child}`);
    expect(oomReapTaskMm(child)).toBe(0);
    expect([load(mm, addr), mm.isUnstable]).toEqual([1, false]);
    expectSync(mmput(child));
  });

  test('a hole can no longer be migrated to the device [F48]', () => {
    const { mm, device } = bench;
    const addr = mapAnon(mm, 2);
    const before = new Migration(bench, addr, 1).run();
    expect([before.reasons, device.used]).toEqual([['none'], 1]);
    expect(oomReapTaskMm(mm)).toBe(0);
    const after = new Migration(bench, addr, 2).run();
    expect(after.reasons).not.toContain('none');
    expect([device.used, mm.anonRss]).toEqual([0, 0]);
  });

  test('a migration in progress finds its pages gone and ends in order [F48]', () => {
    const { mm, device } = bench;
    const addr = mapFilled(mm, 1);
    mapAnon(mm, 1);
    const migration = new Migration(bench, addr, 1).setup().supply();
    // The reaper takes the mmap lock for read, as the migration has it.
    expect(oomReapTaskMm(mm)).toBe(0);
    expect(mm.anonRss).toBe(0);
    migration.pages().finalize();
    expect([device.used, pteAt(mm, addr), loadOutcome(mm, addr)]).toEqual([0, 0, FAULT_SIGBUS]);
  });

  test('someone who changes the address space is not waited for', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    expectSync(mm.mmapLock.writeLock());
    expect(oomReapTaskMm(mm)).toBe(errno.EAGAIN);
    mm.mmapLock.writeUnlock();
    expect([mm.isUnstable, load(mm, addr)]).toEqual([false, 1]);
  });
});

describe('notifiers of a reaped address space', () => {
  test('get an UNMAP for each VMA that they must not wait in [F91] [F92]', () => {
    const addr = mapFilled(bench.mm, 2);
    const { seen } = subscribe(addr, 2, false);
    expect(oomReapTaskMm(bench.mm)).toBe(0);
    expect(seen).toEqual([{ event: MMU_NOTIFY_UNMAP, blockable: false }]);
  });

  test('one that would have to wait keeps its VMA; the others go; later it goes, too [F91]', async () => {
    const { mm } = bench;
    const other = mapFilled(mm, 1);
    const gap = mapAnon(mm, 1, 0);
    const kept = mapFilled(mm, 1);
    const subscriber = subscribe(kept, 1, true);
    const before = pteAt(mm, kept);
    const seq = subscriber.sub.invalidateSeq;
    expect(oomReapTaskMm(mm)).toBe(errno.EAGAIN);
    expect([pteAt(mm, other), pteAt(mm, kept), pteAt(mm, gap)]).toEqual([0, before, 0]);
    expect(subscriber.sub.invalidateSeq).toBe(seq);
    expect(load(mm, kept)).toBe(1);
    subscriber.mayWait = false;
    expect(oomReapTaskMm(mm)).toBe(0);
    expect(pteAt(mm, kept)).toBe(0);
    await mmuIntervalNotifierRemove(subscriber.sub);
  });

  test('the end of an address space is one RELEASE to each, before anything goes [F92]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const { seen } = subscribe(addr, 1, true);
    expectSync(mmput(mm));
    expect(seen.map(({ event }) => event)).toEqual([5, MMU_NOTIFY_UNMAP]);
  });
});
