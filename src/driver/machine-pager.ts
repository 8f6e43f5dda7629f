/*
 * A pager on the machine's own memory: faults of a kernel over virtual memory become device faults
 * of a process. A page comes to the device by `migrateVma`; permissions are those of
 * `hmmRangeFault`; and whatever takes a page away from the mirror's page table takes it out of the
 * kernel's page table in the same breath.
 *
 * Promises. Those of context-map.ts; and what a batch was granted is not evicted before the next
 * pass, neither by this context nor by others of the device, of whatever process.
 *
 * Locking. `serve` takes the device's fault lock, and keeps it until `passSubmitted` or `close`:
 * contexts of a device that is too small for all of them take turns. The mirror's commands take the
 * mmap lock for read. Between looking a page up in the mirror's page table and mapping it nothing
 * waits. Source: our own; the steps are those of a driver's fault handler.
 *
 * A page that can't come to the device (pinned, of a shared file, no room, coherent memory) is lent
 * to it for the next pass (aperture.ts) where the launch says `around: pager.aperture`; elsewhere
 * it ends the invocation like a bad address.
 *
 * Leaves out: policies: single pages; the context's own go in the order they came, then whatever is
 * on the device.
 */
import { errno, isErr } from '../base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import {
  ACCESS_PREFETCH,
  ACCESS_PREFETCH_WRITE,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_WORDS,
} from '../engine/vm/abi.ts';
import type { DeviceSpace } from '../engine/vm/device-space.ts';
import type { FaultBatch, PassHooks } from '../engine/vm/launch.ts';
import { MEMORY_DEVICE_COHERENT } from '../mm/memremap.ts';
import {
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_NOT_A_PAGE,
  SKIP_NOT_SELECTED,
  SKIP_PAGE_CACHE,
  SKIP_PINNED_AT_COLLECT,
  SKIP_PINNED_AT_UNMAP,
} from '../mm/skip-reason.ts';
import type { LaunchPager, PagerStats, Refusal } from './launch-pager.ts';
import { noteRefusal } from './launch-pager.ts';
import { ptePresent } from '../mm/swapops.ts';
import { Aperture } from './aperture.ts';
import { BusyPages } from './busy-pages.ts';
import { ContextMap } from './context-map.ts';
import { dptPfn } from './device-page-table.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from './dmirror.ts';
import { AnyEviction } from './evict-any.ts';
import { isWrite } from './lent-page.ts';
import { isFatal } from './page-mover.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';

/** Why migration leaves a page in RAM for longer than somebody's fault or migration lasts. */
const RAM_REASONS = [
  SKIP_NOT_SELECTED,
  SKIP_HOLE_NOT_ANONYMOUS,
  SKIP_NOT_A_PAGE,
  SKIP_PINNED_AT_COLLECT,
  SKIP_PINNED_AT_UNMAP,
  SKIP_PAGE_CACHE,
];
/** Rounds of bringing one page, against CPUs that take it away at once. */
const MAX_TRIES = 16;
/** See the file header. Pages are those of the context. */
export class MachinePager implements LaunchPager {
  readonly refusals: Refusal[] = [];
  readonly everyPass = false;
  readonly patience = 256;
  failure = 0;
  /** Lends pages that stay in RAM to a pass; launches call it around each. */
  readonly aperture: Aperture;
  readonly map: ContextMap;
  private readonly mirror: Dmirror;
  private readonly isAborted: () => boolean;
  private readonly origin: number;
  private readonly others: AnyEviction;
  /** Pages of the batch at hand. */
  private batch = new Set<number>();
  /** Pages that could not be had, since one could. */
  private readonly busy = new BusyPages();
  /** The page that could not be had last has to stay in RAM, whoever makes room. */
  private stays = false;
  /** The device's fault lock is this pager's. */
  private holdsDevice = false;
  private evicted = 0;
  private cancelled = 0;
  private remote = 0;

  /**
   * @param mirror the process's open device, which has memory of its own
   * @param space the context's page table
   * @param origin virtual address that is address 0 of the context, page aligned
   * @param firstFrame pfn of the first VRAM frame of the engine's arena
   * @param isAborted asked between pages; true ends the launch
   */
  constructor(
    mirror: Dmirror,
    space: DeviceSpace,
    origin: number,
    firstFrame: number,
    isAborted = () => false,
  ) {
    this.mirror = mirror;
    this.isAborted = isAborted;
    this.origin = origin;
    this.map = new ContextMap(mirror, space, origin, firstFrame);
    this.others = new AnyEviction(mirror.device);
    this.aperture = new Aperture(mirror, space, origin, firstFrame);
  }

  get stats(): PagerStats {
    const { evicted, cancelled, remote, map } = this;
    return { mapped: map.made, erased: map.erased, evicted, cancelled, remote };
  }

  /** Nothing has to be known before the first fault. */
  begin(): void {}

  /**
   * Serves a batch, page by page in the order of the records.
   *
   * @returns true, so that the launch goes on; false when the engine or the file is gone
   *
   * Context: takes the device's fault lock and keeps it, and the mmap lock for read; waits.
   */
  async serve(batch: FaultBatch): Promise<boolean> {
    if (!this.holdsDevice) await this.mirror.device.faultLock.lock();
    this.holdsDevice = true;
    this.map.begin();
    const wanted = this.wantedPages(batch);
    this.batch = new Set(wanted.keys());
    const remote = new Map<number, number>();
    let granted = 0;
    for (const [page, { access, record }] of wanted) {
      if (this.isAborted()) return false;
      const write = isWrite(access);
      const status = await this.bring(page, write);
      if (this.isFatal(status)) return false;
      if (!isErr(status)) granted += 1;
      if (!isErr(status) || isHint(access)) continue;
      const isUsable = status === errno.EBUSY;
      // The rest of a batch that fills the device comes again when this much is done.
      if (isUsable && this.aperture.isAround && (this.stays || granted === 0)) {
        remote.set(page, access);
        continue;
      }
      if (isUsable && (granted > 0 || this.busy.mayWait(page))) continue;
      this.refuse(page, write);
      noteRefusal(this.refusals, batch, record, this.origin, status);
    }
    if (granted > 0) this.busy.clear();
    this.batch.clear();
    return remote.size === 0 || this.lend(batch, wanted, remote);
  }

  /** Lends what stays in RAM. False when the engine or the file is gone. */
  private async lend(
    batch: FaultBatch,
    wanted: ReadonlyMap<number, Wanted>,
    remote: ReadonlyMap<number, number>,
  ): Promise<boolean> {
    this.remote += remote.size;
    const { originPage } = this.map;
    const asked = new Map([...remote].map(([page, access]) => [originPage + page, access]));
    for (const [virtual, status] of await this.aperture.lend(asked)) {
      if (this.isFatal(status)) return false;
      const page = virtual - originPage;
      // What others had all the time comes again: a CPU may be using it just now.
      if (status === errno.EBUSY && this.busy.mayWait(page)) continue;
      const { access, record } = wanted.get(page)!;
      this.refuse(page, isWrite(access));
      noteRefusal(this.refusals, batch, record, this.origin, status);
    }
    return true;
  }

  /** Whether the engine or the file is gone; notes it. */
  private isFatal(status: number): boolean {
    if (isFatal(status)) this.failure = status;
    return isFatal(status);
  }

  /** What a launch calls around its passes (LaunchPager). */
  get around(): PassHooks {
    return this.aperture;
  }

  /** Nobody waits for it. */
  pause(): void {}

  /** The pass that uses what was granted is queued: others may evict it from now on. */
  passSubmitted(): void {
    this.map.forgive();
    if (!this.holdsDevice) return;
    this.holdsDevice = false;
    this.mirror.device.faultLock.unlock();
  }

  /** Ends the connection: the context maps nothing any more. Pages stay on the device. */
  close(): void {
    this.aperture.clear();
    this.map.close();
    this.passSubmitted();
  }

  /** Pages of a batch with the strongest access of each. */
  private wantedPages({ records }: FaultBatch): Map<number, Wanted> {
    const wanted = new Map<number, Wanted>();
    for (let at = 0; at < records.length; at += FAULT_WORDS) {
      const page = Math.floor(records[at + FAULT_ADDRESS]! / PAGE_SIZE);
      const access = records[at + FAULT_ACCESS]!;
      const before = wanted.get(page);
      if (before !== undefined && strength(access) <= strength(before.access)) continue;
      wanted.set(page, { access, record: at / FAULT_WORDS });
    }
    return wanted;
  }

  /**
   * Makes a page usable and maps it.
   *
   * @returns 0; EBUSY for a page that is in RAM, `stays` says whether for good; or why it can't be
   * used at all
   */
  private async bring(page: number, write: boolean): Promise<number> {
    const { map } = this;
    const address = (map.originPage + page) * PAGE_SIZE;
    this.stays = false;
    if (!map.map(page, write) && this.isWhole(page)) {
      const status = await this.bringWhole(page);
      if (status === errno.ENODEV || status === errno.EIO) return status;
    }
    for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
      if (map.map(page, write)) return 0;
      const cmd = newDmirrorCmd(address, 1, 0);
      const moved = await this.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, cmd);
      if (moved === errno.ENODEV || moved === errno.EIO) return moved;
      if (map.map(page, write)) return 0;
      const status = await this.mirror.fault(address, address + PAGE_SIZE, write);
      if (isErr(status) && status !== errno.EBUSY) return status;
      if (map.map(page, write)) return 0;
      // It is in RAM: it can't be moved, or there is no room, or somebody has just taken it back.
      // The fault may have brought what stood in the way home from elsewhere.
      this.stays = this.isCoherent(page) || (attempt > 0 && staysInRam(cmd));
      if (this.stays && this.aperture.isAround) return errno.EBUSY;
      if (attempt === 0 && staysInRam(cmd)) continue;
      if (!(await this.evictOne()) && attempt > 1) return errno.EBUSY;
    }
    return errno.EBUSY;
  }

  /** Whether the CPU maps the 2 MiB around a page by one entry, and they fit here as they are. */
  private isWhole(page: number): boolean {
    const { device, mm } = this.mirror;
    const { memory } = device;
    const { originPage } = this.map;
    if (originPage % HPAGE_PMD_NR !== 0) return false;
    if (memory.capacityPages - memory.pagesInUse < HPAGE_PMD_NR) return false;
    const { pageTables } = mm.sys;
    const address = (originPage + page) * PAGE_SIZE;
    const at = pageTables.leafOffset(mm.pgd, address);
    return at === pageTables.pmdOffset(mm.pgd, address) && ptePresent(pageTables.words[at]!);
  }

  /** Brings them together, and maps what has come. ENODEV, EIO; anything else is seen by `map`. */
  private async bringWhole(page: number): Promise<number> {
    const start = page - (page % HPAGE_PMD_NR);
    const address = (this.map.originPage + start) * PAGE_SIZE;
    const cmd = newDmirrorCmd(address, HPAGE_PMD_NR, 0);
    const moved = await this.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, cmd);
    for (let i = start; i < start + HPAGE_PMD_NR; i++) this.map.map(i, false);
    return moved;
  }

  /** Whether a page is in memory of a device that the CPU reaches as well. */
  private isCoherent(page: number): boolean {
    const entry = this.mirror.pageTable.lookup(this.map.originPage + page);
    return entry !== 0 && this.mirror.device.memory.type === MEMORY_DEVICE_COHERENT;
  }

  /** From now on such accesses end their invocation; reads of a readable page go on. */
  private refuse(page: number, write: boolean): void {
    this.map.refuse(page, write);
    this.cancelled += 1;
  }

  /** Sends a page home that is not of this batch: the oldest of the context's, or any other. */
  private async evictOne(): Promise<boolean> {
    // Those of this batch, and one that stays (locked, pinned), go to the end of the line: they
    // come by twice, and once is enough.
    const { mapped } = this.map;
    for (let left = mapped.size; left > 0 && mapped.size > 0; left--) {
      const page = mapped.oldest();
      if (!this.batch.has(page) && (await this.evictPage(this.pfnOf(page)))) return true;
      if (mapped.delete(page)) mapped.add(page);
    }
    // Pages that this context does not map: of other contexts, or of nobody's.
    const { mem } = this.mirror.mm.sys;
    const granted = new Set([...this.batch].map((page) => mem.folioOf(this.pfnOf(page))));
    return this.others.evictOne(
      (pfn) => granted.has(pfn),
      (pfn) => this.evictPage(pfn),
    );
  }

  private async evictPage(pfn: number): Promise<boolean> {
    const { device, mm } = this.mirror;
    const status = await device.evictPage(pfn);
    const { mem } = mm.sys;
    if (isErr(status) || mem.refcount[mem.folioOf(pfn)] !== 0) return false;
    this.evicted += 1;
    return true;
  }

  /** The device's frame of a page of the context, by the mirror's page table. */
  private pfnOf(page: number): number {
    return dptPfn(this.mirror.pageTable.lookup(this.map.originPage + page));
  }
}

/** What a batch asks of a page, and the record that says so. */
interface Wanted {
  readonly access: number;
  readonly record: number;
}

function isHint(access: number): boolean {
  return access === ACCESS_PREFETCH || access === ACCESS_PREFETCH_WRITE;
}

/** Whether a migration of one page left it for a reason that making room does not remove. */
function staysInRam({ skipped }: DmirrorCmd): boolean {
  return RAM_REASONS.some((reason) => skipped[reason]! > 0);
}

/** Order of accesses: hints, reads, writes and atomics. */
function strength(access: number): number {
  if (access === ACCESS_PREFETCH) return 0;
  if (access === ACCESS_PREFETCH_WRITE) return 1;
  return access + 2;
}
