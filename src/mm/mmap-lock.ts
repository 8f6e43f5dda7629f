/**
 * The mmap lock of an address space (include/linux/mmap_lock.h): a fair reader/writer lock in the
 * manner of rwsem. Readers that arrive after a waiting writer queue behind it, so a writer is never
 * starved. Taking it is synchronous when it is free. Never taken recursively for read: with a
 * writer waiting in between that would be a deadlock.
 */
import { assert } from '../base/assert.ts';
import type { MaybePromise } from '../base/maybe.ts';

interface LockWaiter {
  readonly write: boolean;
  readonly wake: () => void;
}

export class MmapLock {
  private readers = 0;
  private writing = false;
  private readonly queue: LockWaiter[] = [];

  /** Takes the lock for read (mmap_read_lock). May wait. */
  readLock(): MaybePromise<void> {
    if (this.readTrylock()) return;
    return new Promise((resolve) => this.queue.push({ write: false, wake: resolve }));
  }

  /** Takes the lock for read if nobody writes or waits (mmap_read_trylock). */
  readTrylock(): boolean {
    if (this.writing || this.queue.length > 0) return false;
    this.readers++;
    return true;
  }

  /** Drops a read lock (mmap_read_unlock). */
  readUnlock(): void {
    assert(this.readers > 0, 'I4: a read unlock has its read lock');
    this.readers--;
    this.handOver();
  }

  /** Takes the lock for write (mmap_write_lock). May wait. */
  writeLock(): MaybePromise<void> {
    if (!this.writing && this.readers === 0 && this.queue.length === 0) {
      this.writing = true;
      return;
    }
    return new Promise((resolve) => this.queue.push({ write: true, wake: resolve }));
  }

  /** Drops the write lock (mmap_write_unlock). */
  writeUnlock(): void {
    assert(this.writing, 'I4: a write unlock has its write lock');
    this.writing = false;
    this.handOver();
  }

  /** True while anybody holds the lock (mmap_assert_locked). */
  get isLocked(): boolean {
    return this.writing || this.readers > 0;
  }

  /** True while a writer holds the lock (mmap_assert_write_locked). */
  get isWriteLocked(): boolean {
    return this.writing;
  }

  /** Ownership is passed before the waiter runs, so nobody slips in between. */
  private handOver(): void {
    while (this.queue.length > 0) {
      const first = this.queue[0]!;
      if (first.write) {
        if (this.readers > 0 || this.writing) return;
        this.writing = true;
      } else {
        if (this.writing) return;
        this.readers++;
      }
      this.queue.shift();
      first.wake();
      if (first.write) return;
    }
  }
}
