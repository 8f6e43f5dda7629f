/*
 * A pager that has a fault service decide: the faults of a kernel's passes go into the service's
 * ring, and the steps that the service asks for are done on the process's memory. Pages move by
 * migrateVma, whole runs of them at a time; a replay is the next pass of the launch.
 *
 * Promises. All bookkeeping is the service's, and it is right: what it has on the device is on the
 * device by the CPU page table, what it has mapped is mapped in the context's page table (I41).
 * Whatever takes a page away in between (a CPU fault, munmap, mprotect, another command) takes the
 * kernel's entry in the same breath, and is told to the service before it decides again. Steps that
 * do not work out are marked, and the service finds another way.
 *
 * Locking. `serve` takes the device's fault lock, and keeps it until `passSubmitted` or `close`:
 * contexts of a device that is too small for all of them take turns. Migrations take the mmap lock
 * for read. One launch at a time. Source: our own; the steps are those of a driver's fault handler.
 *
 * Leaves out: a second copy of read-mostly pages: they move (docs/deviations.md).
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../base/units.ts';
import type { DeviceSpace } from '../engine/vm/device-space.ts';
import type { FaultBatch } from '../engine/vm/launch.ts';
import { ContextMap, SPACE_PAGES } from './context-map.ts';
import { ContextRegions } from './context-regions.ts';
import { Aperture } from './aperture.ts';
import { CpuWaits } from './cpu-waits.ts';
import type { Dmirror } from './dmirror.ts';
import { isFatal, PageMover } from './page-mover.ts';
import { PageNotes } from './page-set.ts';
import { ASKED_READ, ASKED_WRITE, ParkedPages } from './parked-pages.ts';
import { RemoteLending } from './remote-lending.ts';
import { DeviceRun } from './policy/device-run.ts';
import { FaultRing, RING_RECORDS } from './policy/fault-ring.ts';
import { FaultService } from './policy/fault-service.ts';
import type { CancelStep, ServiceStep } from './policy/fault-service.ts';
import { MOVED_READABLE, MOVE_FAILED } from './policy/placement-rows.ts';
import type { PlacementStep } from './policy/placement-rows.ts';
import { ACCESS_READ, ACCESS_WRITE, IN_RAM, ON_DEVICE } from './policy/policy.ts';
import type { FaultPolicy, PolicyFactory, PolicySetup } from './policy/policy.ts';
import { Residency } from './policy/residency.ts';
import { mergeHints } from './range-hints.ts';
import { checkBooks } from './service-check.ts';
import type { ServicePagerOptions, ServicePagerStats } from './service-options.ts';

/** Why the service ends accesses, as a device fault would say it. */
const WHY_CANCELLED = { 'read-only': errno.EPERM, 'no such address': errno.EFAULT };
/** See the file header. Pages are those of the context. */
export class ServicePager {
  readonly map: ContextMap;
  readonly service: FaultService;
  /** Lends pages that stay in RAM to a pass; launches call it around each. */
  readonly aperture: Aperture;
  readonly stats: ServicePagerStats = { in: 0, out: 0, lost: 0, cancelled: 0 };
  private readonly mirror: Dmirror;
  private readonly options: ServicePagerOptions;
  private readonly run: DeviceRun;
  /** Pages of the context that can be of the process. */
  private readonly pages: number;
  private readonly regions: ContextRegions;
  private steps: Generator<ServiceStep, void, void> | null = null;
  /** The replay in progress acknowledges single faults. */
  private isAck = false;
  /** The launch calls the aperture around its passes. */
  private lends = false;
  /** Something has been mapped or refused since the last pass. */
  private hasChanged = false;
  /** Pages that have come; the service hears of them when it goes on: others run before that. */
  private readonly arriving = new PageNotes();
  /** Pages that left the mirror's page table; the service does not know yet. */
  private readonly gone = new Set<number>();
  /** Pages that the service mapped in RAM, where the launch can't have them lent. */
  private readonly parked: ParkedPages;
  /** CPUs that wait for a page, since the policy says so. */
  private readonly cpus: CpuWaits;
  /** ASKED_* of the pages that invocations wait for. */
  private readonly asked = new PageNotes();
  private granted = 0;
  private readonly mover: PageMover;
  private readonly remote: RemoteLending;
  /** The device's fault lock is this pager's. */
  private holdsDevice = false;

  /**
   * @param mirror the process's open device, which has memory of its own
   * @param space the context's page table
   * @param origin virtual address that is address 0 of the context, page aligned
   * @param firstFrame pfn of the first VRAM frame of the engine's arena
   */
  constructor(
    mirror: Dmirror,
    space: DeviceSpace,
    origin: number,
    firstFrame: number,
    options: ServicePagerOptions,
  ) {
    this.mirror = mirror;
    this.options = options;
    this.map = new ContextMap(mirror, space, origin, firstFrame);
    this.mover = new PageMover(this.map);
    this.map.onErase = (first, end) => this.noteErased(first, end);
    this.pages = Math.min(SPACE_PAGES, TASK_SIZE / PAGE_SIZE - this.map.originPage);
    const hints = mergeHints(options.hints ?? [], this.pages)!;
    const { originPage } = this.map;
    this.regions = new ContextRegions(mirror, originPage, this.pages, space.context, hints);
    const { capacityPages } = mirror.device.memory;
    const devicePages = Math.max(1, Math.min(options.devicePages ?? Infinity, capacityPages));
    // Memory may be mapped later: books and policy have room for all that can be.
    const residency = new Residency(this.regions.regions, devicePages, this.pages);
    const policy = this.makePolicy(options.policy, {
      pageCount: residency.capacity,
      devicePages,
      seed: options.seed ?? 1,
    });
    const { cost, traits, lives } = options;
    this.service = new FaultService(
      residency,
      new FaultRing(options.ringRecords ?? RING_RECORDS),
      policy,
      {
        ...(cost === undefined ? {} : { cost }),
        ...(traits === undefined ? {} : { traits }),
        ...(lives === undefined ? {} : { lives }),
        // HMM knows one place of a page: a driver can't keep the CPU from storing to its copy.
        duplicates: false,
      },
    );
    const { isComplete, dedup } = options;
    this.run = new DeviceRun(this.service, space.context, isComplete === true, dedup === true);
    this.aperture = new Aperture(mirror, space, origin, firstFrame);
    this.remote = new RemoteLending(this.aperture, this.map, this.run, this.service);
    const { service, map, mover, stats, asked, gone } = this;
    const refuse = (page: number, write: boolean, why: number): void =>
      this.refuse(page, write, why);
    const lookAt = (page: number): void => this.lookAt(page);
    this.cpus = new CpuWaits(service, map);
    this.parked = new ParkedPages({ service, map, mover, stats, asked, gone, refuse, lookAt });
  }

  /** A policy that can't be made leaves nobody behind who listens. */
  private makePolicy(factory: PolicyFactory, setup: PolicySetup): FaultPolicy {
    try {
      return factory(setup);
    } catch (error) {
      this.map.close();
      throw error;
    }
  }

  /** Looks at the address space as it is: what is on the device already is mapped. */
  async begin(): Promise<void> {
    assert(this.steps === null, 'a pager serves one launch at a time');
    this.run.clear();
    this.isAck = false;
    await this.settle();
    this.run.begin();
    for (const { first, outer } of this.regions.regions) {
      for (let page = first; page < outer; page++) this.lookAt(page);
    }
    this.cpus.open();
  }

  /** Notes where a page is, as the CPU page table has it. */
  private lookAt(page: number): void {
    const { service, map } = this;
    const { space } = service;
    const was = space.where[page]!;
    const where = this.mover.whereIs(page);
    if (where === ON_DEVICE) {
      service.adopt(page);
      const isMapped = map.map(page, false);
      if (!isMapped) space.unmap(page);
      else space.setMapped(page, map.isWritable(page) ? space.permissionOf(page) : ACCESS_READ);
    } else if ((was & ON_DEVICE) !== 0) {
      this.lose(page, where);
    } else {
      space.setWhere(page, where);
    }
  }

  /**
   * Serves the faults of a pass (see launch.ts; `everyPass` has to be set).
   *
   * @returns true for the next pass, 'hold' for one in which pages in RAM are used; false when the
   * engine or the file is gone
   * @throws PolicyError where the policy throws or answers nonsense
   *
   * Context: takes the device's fault lock and keeps it, and the mmap lock for read; waits.
   */
  async serve(batch: FaultBatch): Promise<boolean | 'hold'> {
    this.cpus.wake();
    await this.lockDevice();
    this.cpus.check();
    this.cpus.open();
    this.run.take(batch.records, batch.accesses, batch.stopped);
    this.hasChanged = false;
    this.lends = this.aperture.isAround;
    this.map.begin();
    this.asked.clear();
    this.noteStops();
    const remote = this.remote.wanted();
    if (remote.size > 0) return this.lend(remote);
    // What the engine's ring lost comes again, like what this one loses.
    this.service.ring.overflows += batch.overflow;
    this.run.end(this.isAck);
    for (;;) {
      if (!(await this.untilReplay())) return false;
      // Nobody can go on from where it is, and nobody new begins: the pass would do nothing.
      if (!this.isAck || this.hasChanged || batch.next > 0) {
        this.run.begin();
        this.remote.beginRun();
        return true;
      }
    }
  }

  private noteStops(): void {
    const { stops } = this.run;
    for (let i = 0; i < stops.length; i++) {
      const { page, access } = stops[i]!;
      const before = this.asked.get(page);
      if (before === 0) this.lookFor(page);
      const isWrite = access >= ACCESS_WRITE || before === ASKED_WRITE;
      this.asked.set(page, isWrite ? ASKED_WRITE : ASKED_READ);
    }
  }

  /** Looks where a page is that an invocation stopped at; what is on the device is for `settle`. */
  private lookFor(page: number): void {
    const { space } = this.service;
    if (page >= space.pageCount || (space.where[page]! & ON_DEVICE) !== 0) return;
    const where = this.mover.whereIs(page);
    // What somebody else has brought meanwhile can't be lent any more.
    if (where === ON_DEVICE && space.remote[page] === 1) this.lookAt(page);
    // Thrown away, or touched for the first time.
    else if (where !== ON_DEVICE && space.remote[page] === 0) space.setWhere(page, where);
  }

  /** Has the device use pages in RAM, in another pass of the same run. */
  private async lend(wanted: ReadonlyMap<number, number>): Promise<'hold' | false> {
    const refused = await this.remote.lend(wanted);
    if (refused === null) return false;
    for (const [page, why] of refused) this.refuse(page, this.asked.get(page) === ASKED_WRITE, why);
    return 'hold';
  }

  private async lockDevice(): Promise<void> {
    if (!this.holdsDevice) await this.mirror.device.faultLock.lock();
    this.holdsDevice = true;
  }

  /** The pass that uses what was granted is queued: others may evict it from now on. */
  passSubmitted(): void {
    this.map.forgive();
    if (!this.holdsDevice) return;
    this.holdsDevice = false;
    this.mirror.device.faultLock.unlock();
  }

  /** No pass comes for a while: CPUs that a policy has wait go on until faults are served again. */
  pause(): void {
    this.cpus.close();
  }

  /** The launch is over: services what is left in the ring, which concerns nobody any more. */
  async end(): Promise<void> {
    this.cpus.close();
    this.asked.clear();
    await this.lockDevice();
    while (this.steps !== null || this.service.ring.pending > 0) {
      if (!(await this.untilReplay())) break;
    }
    this.steps = null;
    this.run.clear();
    this.passSubmitted();
  }

  /** Ends the connection: the context maps nothing any more. Pages stay on the device. */
  close(): void {
    this.cpus.close();
    this.aperture.clear();
    this.map.close();
    this.passSubmitted();
  }

  /** Runs the service until it wants a replay, or has nothing to do. False: it can't go on. */
  private async untilReplay(): Promise<boolean> {
    const { service } = this;
    // What happened during the pass: the service goes on with the memory that there is now.
    if (!(await this.settle())) return false;
    for (;;) {
      if (this.steps === null) {
        if (service.ring.pending === 0) {
          this.isAck = false;
          return true;
        }
        this.steps = service.pass();
      }
      const { done, value: step } = this.steps.next();
      this.arriving.clear();
      if (done === true) {
        this.steps = null;
        service.tick();
        if (!(await this.settle())) return false;
      } else if (step.kind === 'replay') {
        this.isAck = step.isAck;
        return this.settle();
      } else if (!(await this.carryOut(step))) return false;
    }
  }

  private carryOut(step: PlacementStep | CancelStep): Promise<boolean> | boolean {
    switch (step.kind) {
      case 'migrate':
      case 'duplicate':
        return this.bringIn(step);
      case 'evict':
      case 'home':
        return this.sendHome(step);
      case 'remote':
        return this.mapWhereItIs(step);
      case 'cancel':
        this.refuse(step.page, step.from >= ACCESS_WRITE, WHY_CANCELLED[step.why]);
        return true;
    }
  }

  /** Moves the pages of a step to the device and maps them; what is there already is mapped. */
  private async bringIn(step: PlacementStep): Promise<boolean> {
    const { map, mover, service } = this;
    const { space } = service;
    let count = 0;
    const sorted = mover.room(step.count);
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      if (map.map(page, this.asked.get(page) === ASKED_WRITE)) continue;
      if (space.where[page] === 0) space.setWhere(page, mover.whereIs(page) & IN_RAM);
      sorted[count++] = page;
    }
    if (isFatal(await mover.bring(count))) return false;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      const note = this.asked.get(page);
      const write = note === ASKED_WRITE;
      if (map.map(page, write) || note === 0) continue;
      const brought = await mover.bringOne(page, write);
      if (isFatal(brought)) return false;
      if (isErr(brought) && brought !== errno.EBUSY) this.refuse(page, write, brought);
    }
    this.settleMoves(step);
    return true;
  }

  /** Marks what a step's pages came to. */
  private settleMoves(step: PlacementStep): void {
    const { map, service } = this;
    const { space } = service;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      if (!map.mapped.has(page) && !map.map(page, false)) {
        step.failed[i] = MOVE_FAILED;
        continue;
      }
      if (this.gone.size > 0) this.gone.delete(page);
      this.arriving.set(page, 1);
      this.asked.set(page, 0);
      this.granted++;
      this.hasChanged = true;
      if ((space.where[page]! & ON_DEVICE) === 0) this.stats.in++;
      const asksMore = space.permissionOf(page) >= ACCESS_WRITE;
      if (asksMore && !map.isWritable(page)) step.failed[i] = MOVED_READABLE;
    }
  }

  /** Moves the pages of a step to RAM. */
  private async sendHome(step: PlacementStep): Promise<boolean> {
    const { mover } = this;
    const pages = step.pages.subarray(0, step.count);
    // What a CPU has taken already is no page that goes home now.
    const wasHere = Uint8Array.from(pages, (page) => (mover.whereIs(page) === ON_DEVICE ? 1 : 0));
    // What goes along with a CPU's page another context's policy may keep.
    const go = step.kind === 'home' ? pages.filter((page) => !this.cpus.othersKeep(page)) : pages;
    mover.room(go.length).set(go);
    if (isFatal(await mover.sendHome(go.length))) return false;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      const isHere = mover.whereIs(page) === ON_DEVICE;
      if (isHere) step.failed[i] = MOVE_FAILED;
      else this.stats.out += wasHere[i]!;
      if (!isHere) this.gone.delete(page);
    }
    return true;
  }

  /** Maps pages that are on the device after all; others are in RAM. */
  private async mapWhereItIs(step: PlacementStep): Promise<boolean> {
    const { mover } = this;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      this.hasChanged = true;
      if (mover.whereIs(page) !== ON_DEVICE) {
        if (!this.lends) this.parked.add(page);
      } else {
        const write = this.asked.get(page) === ASKED_WRITE;
        const status = await mover.bringOne(page, write);
        if (isFatal(status)) return false;
        if (isErr(status) && status !== errno.EBUSY) this.refuse(page, write, status);
        // The service takes it for mapped in any case; what did not work out is noticed then.
        this.gone.add(page);
      }
    }
    return true;
  }

  /** From now on such accesses of the page end their invocation. */
  private refuse(page: number, write: boolean, why: number): void {
    this.map.refuse(page, write);
    this.options.onRefuse?.(page, write, why);
    this.asked.set(page, 0);
    this.hasChanged = true;
    this.stats.cancelled++;
  }

  /**
   * Tells the service what has happened since it decided last. Context: the service is between two
   * passes, or waits for a replay.
   */
  private async settle(): Promise<boolean> {
    const { service, gone } = this;
    this.regions.refresh(service.space);
    for (;;) {
      // Also those that go while it waits for one of them.
      for (const page of gone) {
        gone.delete(page);
        const where = this.mover.whereIs(page);
        const wasHere = (service.space.where[page]! & ON_DEVICE) !== 0;
        if (where === ON_DEVICE) this.lookAt(page);
        else if (wasHere && !(await this.loseToCpu(page, where))) return false;
        else if (!wasHere && where === 0) service.forget(page);
      }
      if (this.parked.isEmpty) break;
      const changed = await this.parked.settle(this.granted);
      if (changed === null) return false;
      if (changed > 0) this.hasChanged = true;
    }
    this.granted = 0;
    if (this.options.checks === true) checkBooks(service.space, this.map, this.mover, gone);
    return true;
  }

  /** The CPU took a page: asks the policy what goes with it. */
  private async loseToCpu(page: number, where: number): Promise<boolean> {
    const { service } = this;
    this.stats.lost++;
    // Memory that the device may not use any more is nothing to ask a policy about.
    if (where === IN_RAM && service.space.regionOf(page) !== undefined) {
      const answer = this.cpus.answerFor(page);
      // Who could not wait has not asked.
      const steps =
        answer === undefined ? service.cpuFault(page, ACCESS_READ) : service.cpuTook(answer);
      for (;;) {
        const { done, value: step } = steps.next();
        if (done === true) break;
        if (!(await this.sendHome(step))) return false;
      }
    }
    const isKept = (service.space.where[page]! & ON_DEVICE) !== 0;
    if (isKept) this.lose(page, this.mover.whereIs(page));
    return true;
  }

  /** A page that the service has on the device is not there any more. */
  private lose(page: number, where: number): void {
    // Somebody has brought it back meanwhile; its entry is gone all the same.
    if (where === ON_DEVICE) this.lookAt(page);
    else if (where === IN_RAM) this.service.cameHome(page);
    else this.service.forget(page);
  }

  /** Pages [first, end) left the mirror's page table. */
  private noteErased(first: number, end: number): void {
    const { space } = this.service;
    const to = Math.min(end, space.pageCount);
    this.cpus.wake();
    for (let page = first; page < to; page++) {
      const isKnown = (space.where[page]! & ON_DEVICE) !== 0 || space.remote[page] === 1;
      if (isKnown || this.arriving.get(page) !== 0) this.gone.add(page);
    }
  }
}
