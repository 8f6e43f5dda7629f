/**
 * CPUs that a policy has wait for a page: while a launch runs, a CPU that faults on one of its
 * pages in device memory asks the policy first, and where that says so (xe's timeslice, UVM's
 * throttling) the page stays, and the CPU faults again after the next pass.
 *
 * Promises. What waits holds no lock. It goes on when the page has left for another reason, when
 * the launch is held or ends, when the policy fails, and after MAX_CPU_WAITS passes whatever the
 * policy says. Each attempt costs a CPU fault's virtual time, so that the virtual clock moves
 * even when the device raises nothing.
 *
 * Who can't give up the mmap lock does not wait and asks nobody. Source: our own; the drivers have
 * the CPU fault again at once (xe, `timeslice_expiration`), or sleep (UVM).
 *
 * What would take such pages home without a fault asks here, too (kept-pages.ts).
 */
import { FAULT_FLAG_WRITE } from '../mm/fault-types.ts';
import type { VmFault } from '../mm/fault-types.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import type { ContextMap } from './context-map.ts';
import { whereIs } from './context-regions.ts';
import { MAX_CPU_WAITS } from './kept-pages.ts';
import type { PageKeeper } from './kept-pages.ts';
import type { FaultService } from './policy/fault-service.ts';
import { ACCESS_READ, ACCESS_WRITE, ON_DEVICE, PolicyError } from './policy/policy.ts';

/** See the file header. Pages are those of the context. */
export class CpuWaits implements PageKeeper {
  /** What the policy did wrong when it was asked last; for the launch. */
  failure: PolicyError | null = null;
  private readonly service: FaultService;
  private readonly map: ContextMap;
  private readonly most: number;
  private isOpen = false;
  /** Attempts in a row, by page. */
  private readonly attempts = new Map<number, number>();
  /** Pages that may go home, with those that go with them. */
  private readonly answers = new Map<number, Int32Array>();
  private woken: Promise<void> | null = null;
  private wakeAll: () => void = () => {};

  constructor(service: FaultService, map: ContextMap, most = MAX_CPU_WAITS) {
    this.service = service;
    this.map = map;
    this.most = most;
  }

  /** A pass is to run: CPUs ask from now on. */
  open(): void {
    const { policy } = this.service;
    const isAsked = policy.onCpuFault !== undefined || policy.keeps !== undefined;
    if (this.isOpen || !isAsked) return;
    this.isOpen = true;
    this.map.mirror.device.kept.add(this);
  }

  /** Nothing runs for a while: whoever waits goes on. */
  close(): void {
    this.isOpen = false;
    this.map.mirror.device.kept.delete(this);
    this.attempts.clear();
    this.answers.clear();
    this.wake();
  }

  /** Whoever waits looks again. */
  wake(): void {
    this.woken = null;
    this.wakeAll();
    this.wakeAll = () => {};
  }

  /** Pages that go home with one that a CPU has taken; undefined where nobody was asked. */
  answerFor(page: number): Int32Array | undefined {
    const pages = this.answers.get(page);
    this.answers.delete(page);
    return pages;
  }

  /** Has the policy's failure end its launch. */
  check(): void {
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }

  /** See PageKeeper. */
  get range(): PageKeeper['range'] {
    const first = this.map.originPage;
    return { first, outer: first + this.service.space.pageCount };
  }

  /** See PageKeeper. */
  keeps(mm: MmStruct, page: number): boolean {
    const { map, service } = this;
    if (mm !== map.mirror.mm) return false;
    try {
      return service.keeps(page - map.originPage);
    } catch (error) {
      this.noteFailure(error);
      return false;
    }
  }

  /** See PageKeeper. An attempt costs what a CPU's does, so that the virtual clock moves. */
  detains(mm: MmStruct, page: number): Promise<void> | null {
    const { map, service } = this;
    if (!this.keeps(mm, page) || whereIs(map.mirror, page) !== ON_DEVICE) return null;
    try {
      service.cpuReaches(page - map.originPage, ACCESS_READ);
    } catch (error) {
      this.noteFailure(error);
      return null;
    }
    return this.nextPass();
  }

  /** Whether another context's policy keeps a page of this one. */
  othersKeep(page: number): boolean {
    const { mirror, originPage } = this.map;
    const { kept } = mirror.device;
    const isKept = kept.isKept(mirror.mm, originPage + page, this);
    kept.count(mirror.mm, Number(isKept));
    return isKept;
  }

  private noteFailure(error: unknown): void {
    if (!(error instanceof PolicyError)) throw error;
    this.failure = error;
  }

  private nextPass(): Promise<void> {
    this.woken ??= new Promise((resolve) => (this.wakeAll = resolve));
    return this.woken;
  }

  /** See PageKeeper. */
  holdsBack({ vma, address, flags }: VmFault): Promise<void> | null {
    const { map, service } = this;
    const page = Math.floor(address / PAGE_SIZE) - map.originPage;
    if (vma.mm !== map.mirror.mm || page < 0 || page >= service.space.pageCount) return null;
    const isHere = (service.space.where[page]! & ON_DEVICE) !== 0;
    if (!isHere || service.space.regionOf(page) === undefined || this.answers.has(page))
      return null;
    const attempts = (this.attempts.get(page) ?? 0) + 1;
    this.attempts.delete(page);
    if (attempts > this.most) return null;
    try {
      const access = (flags & FAULT_FLAG_WRITE) === 0 ? ACCESS_READ : ACCESS_WRITE;
      const pages = service.cpuReaches(page, access);
      if (pages !== null) {
        this.answers.set(page, pages);
        return null;
      }
    } catch (error) {
      this.noteFailure(error);
      return null;
    }
    this.attempts.set(page, attempts);
    return this.nextPass();
  }
}
