import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { MmapLock } from '../../src/mm/mmap-lock.ts';
import { asTask, installLockdep } from './lockdep.ts';

beforeAll(installLockdep);
afterAll(() => vi.restoreAllMocks());

test('a task that takes the mmap lock twice is found, free or not', async () => {
  const lock = new MmapLock();
  await asTask(async () => {
    await lock.readLock();
    await Promise.resolve();
    expect(() => lock.readLock()).toThrow('taken by a task that has it');
    expect(() => lock.writeLock()).toThrow('taken by a task that has it');
  });
});

test('one after the other, and by two tasks, is fine', async () => {
  const lock = new MmapLock();
  const useTwice = async (): Promise<void> => {
    await lock.readLock();
    await Promise.resolve();
    lock.readUnlock();
    await lock.writeLock();
    await Promise.resolve();
    lock.writeUnlock();
  };
  await Promise.all([asTask(useTwice), asTask(useTwice), asTask(useTwice)]);
  expect(lock.isLocked).toBe(false);
});

test('a lock that was waited for is held, and one that was given back is not', async () => {
  const lock = new MmapLock();
  await lock.writeLock();
  const reader = asTask(async () => {
    await lock.readLock();
    expect(() => lock.readLock()).toThrow('taken by a task that has it');
    lock.readUnlock();
    await lock.readLock();
    lock.readUnlock();
  });
  lock.writeUnlock();
  await reader;
});
