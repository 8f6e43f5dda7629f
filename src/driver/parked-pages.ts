/**
 * Pages that a fault service mapped in RAM in a launch that can't have them lent (no aperture
 * around its passes). They fault again when others have made room. Where nothing else was granted,
 * such a page is brought in spite of the policy; if others have it, again with the next pass, up to
 * MAX_BUSY of them in a row; then its accesses end their invocations with EBUSY.
 *
 * Locking: migrations take the mmap lock for read. Source: our own.
 */
import { errno, isErr } from '../base/errno.ts';
import { BusyPages } from './busy-pages.ts';
import type { ContextMap } from './context-map.ts';
import { isFatal } from './page-mover.ts';
import type { PageMover } from './page-mover.ts';
import type { PageNotes } from './page-set.ts';
import { ON_DEVICE } from './policy/policy.ts';
import type { FaultService } from './policy/fault-service.ts';
import type { ServicePagerStats } from './service-options.ts';

/** Notes of pages that invocations wait for: to read them, or to write them, too. */
export const ASKED_READ = 1;
export const ASKED_WRITE = 2;

/** What is shared with the pager. Pages are those of the context. */
export interface ParkedContext {
  readonly service: FaultService;
  readonly map: ContextMap;
  readonly mover: PageMover;
  readonly stats: ServicePagerStats;
  /** ASKED_* of the pages that invocations wait for. */
  readonly asked: PageNotes;
  /** Pages that left the mirror's page table; the service does not know yet. */
  readonly gone: Set<number>;
  /** From now on such accesses of the page end their invocation. */
  readonly refuse: (page: number, write: boolean, why: number) => void;
  /** Has the service hear that a page is on the device. */
  readonly lookAt: (page: number) => void;
}

/** See the file header. */
export class ParkedPages {
  private readonly pages = new Set<number>();
  private readonly busy = new BusyPages();
  private readonly context: ParkedContext;

  constructor(context: ParkedContext) {
    this.context = context;
  }

  /** Whether there are none. */
  get isEmpty(): boolean {
    return this.pages.size === 0;
  }

  /** The service has mapped a page in RAM. */
  add(page: number): void {
    this.pages.add(page);
  }

  /**
   * Has them fault again, or brings one.
   *
   * @param granted pages that could be used since the last time
   * @returns pages brought or refused; null when the engine or the file is gone. Context: waits.
   */
  async settle(granted: number): Promise<number | null> {
    const { service, map, asked, stats, mover } = this.context;
    if (granted > 0) this.busy.clear();
    let changed = 0;
    for (const page of this.pages) {
      this.pages.delete(page);
      if (map.mapped.has(page)) continue;
      service.space.unmap(page);
      const note = asked.get(page);
      if (granted + changed > 0 || note === 0) continue;
      const write = note === ASKED_WRITE;
      const isRoom = await this.makeRoom(page);
      const status = isRoom === 0 ? await mover.bringOne(page, write) : isRoom;
      if (isFatal(status)) return null;
      const isBrought = !isErr(status) && map.map(page, write);
      const why = isErr(status) ? status : errno.EBUSY;
      if (!isBrought && why === errno.EBUSY && this.busy.mayWait(page)) continue;
      changed++;
      this.busy.forget(page);
      if (!isBrought) {
        this.context.refuse(page, write, why);
        continue;
      }
      stats.in++;
      asked.set(page, 0);
      this.context.lookAt(page);
    }
    return changed;
  }

  /** Makes room where the policy would not. @returns 0; EBUSY; ENODEV, EIO, EINTR */
  private async makeRoom(page: number): Promise<number> {
    const { space } = this.context.service;
    while (space.costOf(page, false) > space.freePages) {
      const sent = await this.sendOldestHome();
      if (isErr(sent)) return sent;
    }
    return 0;
  }

  /** The page that has been mapped longest and that nobody waits for. EBUSY: there is none. */
  private async sendOldestHome(): Promise<number> {
    const { map, mover, asked, service, stats, gone } = this.context;
    const oldestFirst = map.mapped.inOrder();
    for (const page of oldestFirst) {
      if (asked.get(page) !== 0) continue;
      mover.room(1)[0] = page;
      const status = await mover.sendHome(1);
      if (isFatal(status)) return status;
      const where = mover.whereIs(page);
      if (where === ON_DEVICE) continue;
      if (where === 0) service.forget(page);
      else service.cameHome(page);
      stats.out++;
      gone.delete(page);
      return 0;
    }
    return errno.EBUSY;
  }
}
