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
 * Leaves out: copies home that no fault of the CPU asks for: commands, prefetch hints, evictions
 * for other contexts.
 */
import { FAULT_FLAG_WRITE } from '../mm/fault-types.ts';
import type { VmFault } from '../mm/fault-types.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { ContextMap } from './context-map.ts';
import type { FaultService } from './policy/fault-service.ts';
import { ACCESS_READ, ACCESS_WRITE, ON_DEVICE, PolicyError } from './policy/policy.ts';

/** Passes that a page is kept from a CPU at most; xe's longest timeslice takes 21,334. */
export const MAX_CPU_WAITS = 32_768;

/** See the file header. Pages are those of the context. */
export class CpuWaits {
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
  private readonly keeper = (vmf: VmFault): Promise<void> | null => this.ask(vmf);

  constructor(service: FaultService, map: ContextMap, most = MAX_CPU_WAITS) {
    this.service = service;
    this.map = map;
    this.most = most;
  }

  /** A pass is to run: CPUs ask from now on. */
  open(): void {
    if (this.isOpen || this.service.policy.onCpuFault === undefined) return;
    this.isOpen = true;
    this.map.mirror.device.keepers.add(this.keeper);
  }

  /** Nothing runs for a while: whoever waits goes on. */
  close(): void {
    this.isOpen = false;
    this.map.mirror.device.keepers.delete(this.keeper);
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

  /** What a CPU that faults on a device page has to wait for; null: nothing. */
  private ask({ vma, address, flags }: VmFault): Promise<void> | null {
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
      if (!(error instanceof PolicyError)) throw error;
      this.failure = error;
      return null;
    }
    this.attempts.set(page, attempts);
    this.woken ??= new Promise((resolve) => (this.wakeAll = resolve));
    return this.woken;
  }
}
