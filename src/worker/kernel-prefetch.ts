/**
 * Prefetch hints of cores, served when nothing else is to be done: pages that are on a device come
 * home. Hints are bounded, each and all together, and merged where they touch; what does not fit is
 * dropped and counted. Nobody waits for a hint, so failures have no one to be told to. Our own.
 */
import { PAGE_SIZE, TASK_SIZE, isAddress, pageAlignDown } from '../base/units.ts';
import { bringRangeHome } from '../driver/bring-home.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import { vmEventIndex } from '../mm/vmstat.ts';

const HINTS = vmEventIndex('prefetch_hints');
const MERGED = vmEventIndex('prefetch_hints_merged');
const DROPPED = vmEventIndex('prefetch_hints_dropped');

/** Most hints that wait. */
export const MAX_HINTS = 32;
/** Most bytes of one hint, merged or not. */
export const MAX_HINT_BYTES = 16 * 2 ** 20;

interface Hint {
  readonly mm: MmStruct;
  start: number;
  end: number;
}

export class PrefetchQueue {
  private readonly sys: System;
  private readonly devices: readonly DmirrorDevice[];
  private readonly waiting: Hint[] = [];
  private isServing = false;

  constructor(sys: System, devices: readonly DmirrorDevice[]) {
    this.sys = sys;
    this.devices = devices;
  }

  /**
   * Takes a hint for [addr, addr + length) of `mm`. Anything may come from a program: what is no
   * range of addresses is dropped. Context: event loop of the kernel thread; never waits.
   */
  add(mm: MmStruct, addr: number, length: number): void {
    this.sys.vmstat.add(HINTS, 1);
    const bytes = Math.min(length, MAX_HINT_BYTES);
    const isRange = isAddress(addr) && bytes > 0 && addr + bytes <= TASK_SIZE;
    const start = pageAlignDown(addr);
    const end = pageAlignDown(addr + bytes + PAGE_SIZE - 1);
    if (isRange && this.merge(mm, start, end)) return this.sys.vmstat.add(MERGED, 1);
    if (!isRange || this.waiting.length === MAX_HINTS) return this.sys.vmstat.add(DROPPED, 1);
    this.waiting.push({ mm, start, end });
    if (!this.isServing) void this.serve();
  }

  /** Forgets the hints of an address space that ends. */
  forget(mm: MmStruct): void {
    const { waiting } = this;
    for (let i = waiting.length - 1; i >= 0; i--) {
      if (waiting[i]!.mm === mm) waiting.splice(i, 1);
    }
  }

  /** Widens a hint that waits, if the new one touches it and both together are not too large. */
  private merge(mm: MmStruct, start: number, end: number): boolean {
    for (const hint of this.waiting) {
      if (hint.mm !== mm || start > hint.end || end < hint.start) continue;
      const from = Math.min(start, hint.start);
      const to = Math.max(end, hint.end);
      if (to - from > MAX_HINT_BYTES) continue;
      hint.start = from;
      hint.end = to;
      return true;
    }
    return false;
  }

  private async serve(): Promise<void> {
    this.isServing = true;
    // Traps that are in the ring already come first.
    await Promise.resolve();
    for (let hint = this.waiting.shift(); hint !== undefined; hint = this.waiting.shift()) {
      for (const device of this.devices) {
        if (device.memory.pagesInUse === 0) continue;
        await bringRangeHome(device, hint.mm, hint.start, hint.end);
      }
    }
    this.isServing = false;
  }
}
