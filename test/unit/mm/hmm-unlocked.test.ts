/* hmm_range_fault_unlocked_timeout (hmm-semantics 11.5). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_PFN_DMA_MAPPED } from '../../../src/mm/hmm.ts';
import type { HmmRange } from '../../../src/mm/hmm.ts';
import { hmmRangeFaultUnlockedTimeout } from '../../../src/mm/hmm-unlocked.ts';
import type { UnlockedOptions } from '../../../src/mm/hmm-unlocked.ts';
import { MAP_FIXED, MAP_PRIVATE, PROT_NONE } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import {
  MMU_NOTIFY_CLEAR,
  MmuNotifierRange,
  mmuIntervalReadRetry,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from '../../../src/mm/mmu-notifier.ts';
import {
  userfaultfdRelease,
  userfaultfdWake,
  userfaultfdZeropage,
} from '../../../src/mm/userfaultfd-register.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { RW, expectSync, mapAnon } from './fixture.ts';
import { HmmRig, READ, WRITE, words } from './hmm-rig.ts';
import { checkAtRest, makeBench, mapFilled } from './migration.ts';
import type { Bench } from './migration.ts';
import { MISSING, UffdRig, WP, settle } from './uffd-rig.ts';

let bench: Bench;
let rig: HmmRig;
/** The clock, in milliseconds. */
let now: number;
let isKilled: boolean;

beforeEach(() => {
  bench = makeBench();
  rig = new HmmRig(bench);
  now = 0;
  isKilled = false;
});

afterEach(() => {
  expect(bench.mm.mmapLock.isLocked).toBe(false);
  checkAtRest(bench);
});

/** Starts a call. */
function start(range: HmmRange, timeoutMs = 0): Promise<number> {
  const options: UnlockedOptions = { timeoutMs, nowMs: () => now, isKilled: () => isKilled };
  return hmmRangeFaultUnlockedTimeout(range, options);
}

describe('without anything in the way', () => {
  test('it takes the lock, faults, gives it back, and says which sequence it saw [F86]', async () => {
    const addr = mapAnon(bench.mm, 2);
    const range = rig.range(addr, 2, { defaultFlags: WRITE });
    range.notifierSeq = -7;
    expect(await start(range)).toBe(0);
    expect(words(range)).toBe('WW');
    expect(mmuIntervalReadRetry(range.notifier, range.notifierSeq)).toBe(false);
    expectSync(doMunmap(bench.mm, addr, PAGE_SIZE));
    expect(mmuIntervalReadRetry(range.notifier, range.notifierSeq)).toBe(true);
  });

  test('errors of the walk come through', async () => {
    const addr = mapAnon(bench.mm, 1, PROT_NONE);
    expect(await start(rig.range(addr, 1, { defaultFlags: READ }))).toBe(errno.EFAULT);
    expect(await start(rig.range(addr, 1))).toBe(0);
  });
});

describe('memory of a userfaultfd', () => {
  test('is waited for, with the lock dropped [F86]', async () => {
    const addr = mapAnon(bench.mm, 2);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 2, MISSING);
    const range = rig.range(addr, 2, { defaultFlags: READ });
    const running = start(range);
    for (const page of [0, 1]) {
      await settle();
      expect(bench.mm.mmapLock.isLocked).toBe(false);
      expect(monitor.ctx.read()?.address).toBe(addr + page * PAGE_SIZE);
      await monitor.copy(addr + page * PAGE_SIZE, 1);
    }
    expect(await running).toBe(0);
    expect(words(range)).toBe('WW');
  });

  test('can not be had by the plain form: EFAULT, and no message [F86]', async () => {
    const addr = mapAnon(bench.mm, 1);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 1, MISSING);
    expect(await rig.look(addr, 1, { defaultFlags: READ })).toBe(String(errno.EFAULT));
    expect(monitor.ctx.isReadable).toBe(false);
    expect(await rig.look(addr, 1)).toBe('-');
  });

  test('write-protected: a device write waits for the monitor, a read does not', async () => {
    const addr = mapFilled(bench.mm, 1);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 1, WP);
    monitor.protect(addr, 1);
    const reading = rig.range(addr, 1, { defaultFlags: READ });
    expect(await start(reading)).toBe(0);
    expect(words(reading)).toBe('R');
    const range = rig.range(addr, 1, { defaultFlags: WRITE });
    const running = start(range);
    await settle();
    expect(monitor.ctx.read()?.address).toBe(addr);
    monitor.protect(addr, 1, 0);
    expect(await running).toBe(0);
    expect(words(range)).toBe('W');
  });

  test('outputs from before a dropped lock are no requests; own bits survive', async () => {
    const addr = mapFilled(bench.mm, 2);
    expectSync(doMunmap(bench.mm, addr + PAGE_SIZE, PAGE_SIZE));
    const missing = mapAnon(bench.mm, 1, RW, MAP_PRIVATE | MAP_FIXED, addr + PAGE_SIZE);
    const monitor = new UffdRig(bench.mm);
    monitor.register(missing, 1, MISSING);
    const pfns = [0, READ | HMM_PFN_DMA_MAPPED];
    const range = rig.range(addr, 2, { pfns, mask: WRITE });
    const running = start(range);
    await settle();
    monitor.ctx.read();
    // Its output was W. As a request that would fault the page in again.
    zapPageRange(vmaLookup(bench.mm, addr)!, addr, addr + PAGE_SIZE);
    expect(await userfaultfdZeropage(monitor.ctx, missing, PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    expect(await running).toBe(0);
    expect(range.hmmPfns[1]! & HMM_PFN_DMA_MAPPED).not.toBe(0);
    range.hmmPfns[1]! &= ~HMM_PFN_DMA_MAPPED;
    expect(words(range)).toBe('-R');
  });

  test('that is unmapped while it is waited for is EFAULT', async () => {
    const addr = mapAnon(bench.mm, 1);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 1, MISSING);
    const running = start(rig.range(addr, 1, { defaultFlags: READ }));
    await settle();
    expectSync(doMunmap(bench.mm, addr, PAGE_SIZE));
    expectSync(userfaultfdRelease(monitor.ctx));
    expect(await running).toBe(errno.EFAULT);
  });
});

describe('the end of patience', () => {
  /** A range that somebody invalidates as soon as it was looked at, `rounds` times. */
  async function disturbed(rounds: number, step: number, timeoutMs: number): Promise<number> {
    const addr = mapAnon(bench.mm, 1);
    const range = rig.range(addr, 1, { defaultFlags: READ });
    const event = new MmuNotifierRange();
    let left = rounds;
    const options: UnlockedOptions = {
      timeoutMs,
      nowMs: () => now,
      // Asked once before and once after the lock: the sequence is stale when the walk begins.
      isKilled: () => {
        if (left > 0 && bench.mm.mmapLock.isLocked) {
          left--;
          now += step;
          mmuNotifierRangeInit(event, MMU_NOTIFY_CLEAR, bench.mm, addr, addr + PAGE_SIZE);
          mmuNotifierInvalidateRangeStart(event);
          mmuNotifierInvalidateRangeEnd(event);
        }
        return false;
      },
    };
    return hmmRangeFaultUnlockedTimeout(range, options);
  }

  test('EBUSY when the time is over; at the deadline it is not yet [F86]', async () => {
    expect(await disturbed(3, 1, 3)).toBe(0);
    now = 0;
    expect(await disturbed(5, 1, 3)).toBe(errno.EBUSY);
  });

  test('a time-out of 0 is none', async () => {
    expect(await disturbed(50, 1000, 0)).toBe(0);
  });

  test('starts anew when a fault dropped the lock: that is progress [F86]', async () => {
    const addr = mapAnon(bench.mm, 1);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 1, MISSING);
    const running = start(rig.range(addr, 1, { defaultFlags: READ }), 10);
    for (let round = 0; round < 5; round++) {
      await settle();
      now += 100;
      expect(monitor.ctx.read()?.address).toBe(addr);
      userfaultfdWake(monitor.ctx, addr, PAGE_SIZE);
    }
    await settle();
    await monitor.copy(addr, 1);
    expect(await running).toBe(0);
  });

  test('EINTR when the caller is killed while it waits for the lock [F86]', async () => {
    const addr = mapAnon(bench.mm, 1);
    expectSync(bench.mm.mmapLock.writeLock());
    const running = start(rig.range(addr, 1, { defaultFlags: READ }));
    await settle();
    isKilled = true;
    bench.mm.mmapLock.writeUnlock();
    expect(await running).toBe(errno.EINTR);
  });

  test('EINTR after a wait for a monitor, too', async () => {
    const addr = mapAnon(bench.mm, 1);
    const monitor = new UffdRig(bench.mm);
    monitor.register(addr, 1, MISSING);
    const running = start(rig.range(addr, 1, { defaultFlags: READ }));
    await settle();
    isKilled = true;
    expectSync(userfaultfdRelease(monitor.ctx));
    expect(await running).toBe(errno.EINTR);
  });

  test('EFAULT where the OOM reaper was; nothing is faulted [F86]', async () => {
    const addr = mapAnon(bench.mm, 1);
    bench.mm.isUnstable = true;
    expect(await start(rig.range(addr, 1, { defaultFlags: READ }))).toBe(errno.EFAULT);
    expect(rig.faults()).toBe(0);
    bench.mm.isUnstable = false;
    expect(await start(rig.range(addr, 1, { defaultFlags: READ }))).toBe(0);
  });
});
