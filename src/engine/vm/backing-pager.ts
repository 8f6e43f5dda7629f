/*
 * A pager whose pages live in an array of bytes: the simplest host there is. Contents go to frames
 * when pages fault in, and come back when they are evicted or collected.
 *
 * Promises. What a batch was granted is not evicted before the next pass, so a launch advances with
 * a single frame. Addresses outside the array are cancelled: the access ends its invocation, and
 * others go on.
 *
 * Locking. One batch at a time. Source: our own.
 *
 * Leaves out: policies, prefetching beyond what kernels ask for, pages larger than 4 KiB.
 */
import { PAGE_SIZE } from '../../base/units.ts';
import {
  ACCESS_PREFETCH,
  ACCESS_PREFETCH_WRITE,
  ACCESS_READ,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_WORDS,
  PTE_ALL,
  PTE_KILL_ATOMIC,
  PTE_KILL_READ,
  PTE_KILL_WRITE,
  PTE_READ,
} from './abi.ts';
import type { DeviceSpace } from './device-space.ts';
import type { FaultBatch } from './launch.ts';
import type { VmEngine } from './vm-engine.ts';

/** A page on the device. */
export interface ResidentPage {
  readonly address: number;
  readonly frame: number;
  /** `PTE_READ`, `PTE_WRITE`, `PTE_ATOMIC`. */
  flags: number;
}

const NOTHING = PTE_KILL_READ | PTE_KILL_WRITE | PTE_KILL_ATOMIC;

/** The pager. */
export class BackingPager {
  readonly engine: VmEngine;
  readonly space: DeviceSpace;
  /** Contents of the pages that are not on the device. */
  readonly bytes: Uint8Array;
  readonly base: number;
  /** Pages on the device, oldest first. */
  readonly resident = new Map<number, ResidentPage>();
  /** Pages that came in, and that went out. */
  moved = { in: 0, out: 0 };
  private readonly freeFrames: number[];

  /**
   * @param engine where frames are
   * @param space the context's page table
   * @param bytes contents, whole pages
   * @param base address of the first byte, page aligned
   * @param frames the frames to use, at least one
   */
  constructor(
    engine: VmEngine,
    space: DeviceSpace,
    bytes: Uint8Array,
    base: number,
    frames: readonly number[],
  ) {
    this.engine = engine;
    this.space = space;
    this.bytes = bytes;
    this.base = base;
    this.freeFrames = [...frames];
  }

  /**
   * Serves a batch.
   *
   * Context: waits for contents that are evicted. Source: our own.
   */
  async serve(batch: FaultBatch): Promise<void> {
    await this.grant(this.wanted(batch));
  }

  /** Brings pages in by hand: all of them if no address is given. */
  async populate(flags: number = PTE_ALL, addresses = this.allPages()): Promise<void> {
    await this.grant(new Map(addresses.map((address) => [address, flags])));
  }

  /** Takes pages out, contents kept. */
  async evict(victims: readonly ResidentPage[]): Promise<void> {
    if (victims.length === 0) return;
    const contents = await this.engine.readFrames(victims.map(({ frame }) => frame));
    for (const [index, { address, frame }] of victims.entries()) {
      this.bytes.set(contents[index]!, address - this.base);
      this.space.unmapPage(address);
      this.resident.delete(address);
      this.freeFrames.push(frame);
      this.moved.out += 1;
    }
  }

  /** Takes everything out. */
  async collect(): Promise<void> {
    await this.evict([...this.resident.values()]);
  }

  /** Page by page the permissions that a batch asks for; cancels what is outside. */
  protected wanted(batch: FaultBatch): Map<number, number> {
    const wanted = new Map<number, number>();
    for (let at = 0; at < batch.records.length; at += FAULT_WORDS) {
      const address = Math.floor(batch.records[at + FAULT_ADDRESS]! / PAGE_SIZE) * PAGE_SIZE;
      const access = batch.records[at + FAULT_ACCESS]!;
      const inside = address >= this.base && address < this.base + this.bytes.length;
      if (inside) {
        wanted.set(address, (wanted.get(address) ?? 0) | this.flagsFor(access));
      } else if (access !== ACCESS_PREFETCH && access !== ACCESS_PREFETCH_WRITE) {
        this.space.unmapPage(address, NOTHING);
      }
    }
    return wanted;
  }

  /** What a page that is accessed this way may do from then on. */
  protected flagsFor(access: number): number {
    return access === ACCESS_READ || access === ACCESS_PREFETCH ? PTE_READ : PTE_ALL;
  }

  /** Maps as many of the wanted pages as there are frames, the first ones first. */
  protected async grant(wanted: ReadonlyMap<number, number>): Promise<void> {
    const fetched: [number, number][] = [];
    let held = 0;
    for (const [address, flags] of wanted) {
      const page = this.resident.get(address);
      if (page === undefined) {
        fetched.push([address, flags]);
      } else {
        page.flags |= flags;
        this.space.protectPage(address, page.flags);
        held += 1;
      }
    }
    const room = this.freeFrames.length + this.resident.size - held;
    // Where all frames hold what the batch raised the permission of, that is progress enough.
    fetched.length = Math.min(fetched.length, room);
    const short = fetched.length - this.freeFrames.length;
    if (short > 0) {
      const victims = [...this.resident.values()].filter(({ address }) => !wanted.has(address));
      await this.evict(victims.slice(0, short));
    }
    for (const [address, flags] of fetched) this.bringIn(address, flags);
  }

  private bringIn(address: number, flags: number): void {
    const frame = this.freeFrames.pop()!;
    const from = address - this.base;
    this.engine.writeFrame(frame, this.bytes.subarray(from, from + PAGE_SIZE));
    this.space.mapPage(address, frame, flags);
    this.resident.set(address, { address, frame, flags });
    this.moved.in += 1;
  }

  private allPages(): number[] {
    return Array.from(
      { length: this.bytes.length / PAGE_SIZE },
      (_, page) => this.base + page * PAGE_SIZE,
    );
  }
}
