/*
 * Watches how the mmap lock is used: no task takes it a second time while it has it. Recursive
 * readers are a deadlock as soon as a writer queues up between the two, which most runs never
 * show; here every run shows it.
 *
 * A task is what runs under `asTask`, through all its awaits.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { vi } from 'vitest';
import { MmapLock } from '../../src/mm/mmap-lock.ts';

const tasks = new AsyncLocalStorage<Set<MmapLock>>();

/** Runs `work` as a task of its own that holds nothing yet. */
export function asTask<T>(work: () => T): T {
  return tasks.run(new Set(), work);
}

function check(lock: MmapLock): void {
  if (!tasks.getStore()?.has(lock)) return;
  throw new Error('the mmap lock is taken by a task that has it');
}

function note(lock: MmapLock): void {
  check(lock);
  tasks.getStore()?.add(lock);
}

function forget(lock: MmapLock): void {
  tasks.getStore()?.delete(lock);
}

type Method = 'readLock' | 'readTrylock' | 'writeLock' | 'readUnlock' | 'writeUnlock';

/** Runs `before` ahead of a method of every mmap lock, and `after` with its result. */
function watch(
  name: Method,
  before: (lock: MmapLock) => void,
  after: (lock: MmapLock, result: unknown) => void = () => undefined,
): void {
  const original = Reflect.get(MmapLock.prototype, name) as (this: MmapLock) => never;
  vi.spyOn(MmapLock.prototype, name).mockImplementation(function (this: MmapLock) {
    before(this);
    const result = original.call(this);
    after(this, result);
    return result;
  });
}

/** Watches every mmap lock from now on. */
export function installLockdep(): void {
  // readLock asks readTrylock, which notes the lock when it takes it.
  watch('readLock', check, (lock, result) => {
    if (result !== undefined) note(lock);
  });
  watch(
    'readTrylock',
    () => undefined,
    (lock, taken) => {
      if (taken === true) note(lock);
    },
  );
  watch('writeLock', note);
  watch('readUnlock', forget);
  watch('writeUnlock', forget);
}
