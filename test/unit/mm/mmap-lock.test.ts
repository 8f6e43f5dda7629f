import { describe, expect, test } from 'vitest';
import { isPending } from '../../../src/base/maybe.ts';
import { MmapLock } from '../../../src/mm/mmap-lock.ts';

const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

function note(log: string[], name: string, value: void | Promise<void>): void {
  expect(isPending(value)).toBe(true);
  void Promise.resolve(value).then(() => log.push(name));
}

describe('mmap lock', () => {
  test('readers share it, a writer has it alone', () => {
    const lock = new MmapLock();
    expect(lock.readLock()).toBeUndefined();
    expect(lock.readLock()).toBeUndefined();
    expect(lock.isLocked).toBe(true);
    expect(lock.isWriteLocked).toBe(false);
    lock.readUnlock();
    lock.readUnlock();
    expect(lock.writeLock()).toBeUndefined();
    expect(lock.isWriteLocked).toBe(true);
    expect(lock.readTrylock()).toBe(false);
    lock.writeUnlock();
    expect(lock.isLocked).toBe(false);
    expect(lock.readTrylock()).toBe(true);
  });

  test('a writer waits for all readers, and readers that come later wait for it', async () => {
    const lock = new MmapLock();
    const log: string[] = [];
    expect(lock.readLock()).toBeUndefined();
    expect(lock.readLock()).toBeUndefined();
    note(log, 'writer', lock.writeLock());
    note(log, 'late reader', lock.readLock());
    expect(lock.readTrylock()).toBe(false);
    lock.readUnlock();
    await settle();
    expect(log).toEqual([]);
    lock.readUnlock();
    await settle();
    expect(log).toEqual(['writer']);
    expect(lock.isWriteLocked).toBe(true);
    lock.writeUnlock();
    await settle();
    expect(log).toEqual(['writer', 'late reader']);
    expect(lock.isWriteLocked).toBe(false);
  });

  test('after a writer all readers up to the next writer go together', async () => {
    const lock = new MmapLock();
    const log: string[] = [];
    expect(lock.writeLock()).toBeUndefined();
    note(log, 'r1', lock.readLock());
    note(log, 'r2', lock.readLock());
    note(log, 'w', lock.writeLock());
    note(log, 'r3', lock.readLock());
    lock.writeUnlock();
    await settle();
    expect(log).toEqual(['r1', 'r2']);
    lock.readUnlock();
    lock.readUnlock();
    await settle();
    expect(log).toEqual(['r1', 'r2', 'w']);
    lock.writeUnlock();
    await settle();
    expect(log).toEqual(['r1', 'r2', 'w', 'r3']);
  });

  test('ownership passes before the waiter runs: nobody slips in', () => {
    const lock = new MmapLock();
    expect(lock.writeLock()).toBeUndefined();
    const waiting = lock.writeLock();
    lock.writeUnlock();
    expect(isPending(waiting)).toBe(true);
    expect(lock.isWriteLocked).toBe(true);
    expect(lock.readTrylock()).toBe(false);
  });

  test('I4: an unlock without its lock is a bug', () => {
    expect(() => new MmapLock().readUnlock()).toThrow('I4');
    expect(() => new MmapLock().writeUnlock()).toThrow('I4');
    const reading = new MmapLock();
    expect(reading.readLock()).toBeUndefined();
    expect(() => reading.writeUnlock()).toThrow('I4');
  });
});
