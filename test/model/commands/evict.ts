import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import type { Machine } from '../machine.ts';
import { Step } from './step.ts';

interface Args {
  readonly minor: number;
}

/** Everything leaves the device and its chunks are unregistered, without any mmap lock. */
export class Evict extends Step<Args> {
  check(): boolean {
    return true;
  }

  protected async act(_model: unknown, machine: Machine): Promise<void> {
    const device = machine.devices[this.args.minor]!;
    machine.tally.evictions += device.memory.pagesInUse;
    // Only a coherent page can be pinned where it is.
    const isPinned = machine.pins.some((pin) => pin !== null && device.memory.has(pin.pfn));
    expect(await device.releaseChunks()).toBe(isPinned ? errno.EBUSY : 0);
    if (isPinned) return;
    expect(device.memory.pagesInUse).toBe(0);
    expect(device.memory.chunks.every((chunk) => chunk === null)).toBe(true);
  }
}
