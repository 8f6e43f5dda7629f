/**
 * Pages that a fault service has mapped in RAM, as the device reaches them: an invocation that
 * stops at one is no fault; the page is lent to it for another pass of the same run (aperture.ts).
 *
 * Locking: as aperture.ts. Source: our own.
 */
import { errno } from '../base/errno.ts';
import { ACCESS_READ as VM_READ } from '../engine/vm/abi.ts';
import type { Aperture } from './aperture.ts';
import { BusyPages } from './busy-pages.ts';
import type { ContextMap } from './context-map.ts';
import { isFatal } from './page-mover.ts';
import type { DeviceRun } from './policy/device-run.ts';
import type { FaultService } from './policy/fault-service.ts';

/** See the file header. Pages are those of the context. */
export class RemoteLending {
  private readonly aperture: Aperture;
  private readonly map: ContextMap;
  private readonly run: DeviceRun;
  private readonly service: FaultService;
  /** Pages that others had all the time, and for how many passes. */
  private readonly busy = new BusyPages();

  constructor(aperture: Aperture, map: ContextMap, run: DeviceRun, service: FaultService) {
    this.aperture = aperture;
    this.map = map;
    this.run = run;
    this.service = service;
  }

  /** Pages that invocations stopped at and may use where they are, with the access. */
  wanted(): Map<number, number> {
    const { space } = this.service;
    const wanted = new Map<number, number>();
    if (!this.aperture.isAround) return wanted;
    for (const stop of this.run.stops) {
      const { page, access, vmAccess } = stop;
      if (space.remote[page] !== 1 || space.mapped[page]! < access) continue;
      if (space.regionOf(page) === undefined || this.run.isUsedUp(stop)) continue;
      if (!wanted.has(page) || vmAccess !== VM_READ) wanted.set(page, vmAccess);
    }
    return wanted;
  }

  /**
   * Lends pages for the next pass.
   *
   * @returns pages that can't be had, and why (Aperture.lend); null when the engine is gone
   */
  async lend(wanted: ReadonlyMap<number, number>): Promise<Map<number, number> | null> {
    const { originPage } = this.map;
    const asked = new Map<number, number>();
    for (const [page, access] of wanted) asked.set(originPage + page, access);
    const refused = new Map<number, number>();
    const answers = await this.aperture.lend(asked);
    for (const page of wanted.keys()) {
      const status = answers.get(originPage + page) ?? 0;
      if (isFatal(status)) return null;
      // What others had all the time is asked for again: a CPU may be using it just now.
      if (status === errno.EBUSY && this.busy.mayWait(page)) continue;
      this.busy.forget(page);
      if (status !== 0) refused.set(page, status);
    }
    return refused;
  }

  /** A new run: what was lent in the last one goes by its counters again. */
  beginRun(): void {
    if (this.service.policy.remoteLimit !== undefined) this.aperture.clear();
  }
}
