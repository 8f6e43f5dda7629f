/**
 * Room on a device that is full of other contexts' pages, or of nobody's: pages go home by frame,
 * whoever has them, from where the last search ended. Our own.
 */
import { isErr } from '../base/errno.ts';
import type { DmirrorDevice } from './dmirror-device.ts';

/** A search for pages to evict, of one context. */
export class AnyEviction {
  private readonly device: DmirrorDevice;
  /** Where it goes on, from the device's first pfn. */
  private hand = 0;

  constructor(device: DmirrorDevice) {
    this.device = device;
  }

  /**
   * Sends one page home.
   *
   * @param isKept whether the page of a pfn has to stay. @param evict does it; false: it stayed
   * @returns false where none went. Context: no lock; waits.
   */
  async evictOne(
    isKept: (pfn: number) => boolean,
    evict: (pfn: number) => Promise<boolean>,
  ): Promise<boolean> {
    const { capacityPages } = this.device.memory;
    for (let tried = 0; tried < capacityPages; tried++) {
      const pfn = this.next();
      if (pfn >= 0 && !isKept(pfn) && (await evict(pfn))) return true;
    }
    return false;
  }

  /**
   * Sends pages home until so many are free.
   *
   * @param wanted free pages. @param isKept whether the page of a pfn has to stay
   * @returns false where there are not so many to be had. Context: no lock; waits.
   */
  async free(wanted: number, isKept: (pfn: number) => boolean): Promise<boolean> {
    const { capacityPages } = this.device.memory;
    for (let tried = 0; this.freePages < wanted && tried < capacityPages; tried++) {
      const pfn = this.next();
      if (pfn < 0 || isKept(pfn)) continue;
      if (isErr(await this.device.evictPage(pfn))) return false;
    }
    return this.freePages >= wanted;
  }

  /** The next page of the device, -1 where it is free. */
  private next(): number {
    const { startPfn, capacityPages } = this.device.memory;
    const pfn = startPfn + this.hand;
    this.hand = (this.hand + 1) % capacityPages;
    return this.device.context.sys.mem.refcount[pfn] === 0 ? -1 : pfn;
  }

  private get freePages(): number {
    const { memory } = this.device;
    return memory.capacityPages - memory.pagesInUse;
  }
}
