import { describe, expect, test } from 'vitest';
import { isPending } from '../../../src/base/maybe.ts';
import { MemMap, PG_WAITERS } from '../../../src/mm/page.ts';

/** Runs the microtasks that are ready. */
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** Notes `name` in `log` when the promise settles. */
function note(log: string[], name: string, value: void | Promise<void>): void {
  expect(isPending(value)).toBe(true);
  void Promise.resolve(value).then(() => log.push(name));
}

describe('page lock', () => {
  test('a free lock is taken at once, a held one is not [F6]', () => {
    const mem = new MemMap(4);
    expect(mem.trylockPage(1)).toBe(true);
    expect(mem.trylockPage(1)).toBe(false);
    expect(mem.trylockPage(2)).toBe(true);
    mem.unlockPage(1);
    expect(mem.isLocked(1)).toBe(false);
    expect(mem.lockPage(1)).toBeUndefined();
    expect(mem.isLocked(1)).toBe(true);
  });

  test('waiters get the lock in order, and no one slips in between [F6]', async () => {
    const mem = new MemMap(4);
    const log: string[] = [];
    mem.trylockPage(1);
    note(log, 'first', mem.lockPage(1));
    note(log, 'second', mem.lockPage(1));
    mem.unlockPage(1);
    expect(mem.trylockPage(1)).toBe(false);
    await settle();
    expect(log).toEqual(['first']);
    mem.unlockPage(1);
    await settle();
    expect(log).toEqual(['first', 'second']);
    expect(mem.testFlag(1, PG_WAITERS)).toBe(false);
    mem.unlockPage(1);
    expect(mem.isLocked(1)).toBe(false);
    expect(mem.waitingPages).toBe(0);
  });

  test('those who only wait are all woken by one unlock and take nothing [F6]', async () => {
    const mem = new MemMap(4);
    const log: string[] = [];
    mem.trylockPage(1);
    note(log, 'a', mem.waitOnPageLocked(1));
    note(log, 'b', mem.waitOnPageLocked(1));
    await settle();
    expect(log).toEqual([]);
    mem.unlockPage(1);
    await settle();
    expect(log).toEqual(['a', 'b']);
    expect(mem.isLocked(1)).toBe(false);
  });

  test('a watcher wakes although the lock passes straight to somebody else', async () => {
    const mem = new MemMap(4);
    const log: string[] = [];
    mem.trylockPage(1);
    note(log, 'watcher', mem.waitOnPageLocked(1));
    note(log, 'owner', mem.lockPage(1));
    mem.unlockPage(1);
    await settle();
    expect(log.toSorted()).toEqual(['owner', 'watcher']);
    expect(mem.isLocked(1)).toBe(true);
  });

  test('waiting for an unlocked page does not wait', () => {
    expect(new MemMap(4).waitOnPageLocked(1)).toBeUndefined();
  });

  test('I2: unlocking a page that is not locked is a bug', () => {
    expect(() => new MemMap(4).unlockPage(1)).toThrow('I2');
  });
});
