/**
 * How often a context's kernels used pages over the aperture: reads, writes and atomic operations
 * of each group of 64 KiB, and the device's access counters on top, where a run has them. Pages are
 * those of the context: 0 is its address 0.
 *
 * Locking. None. Source: our own; the groups are those of uvm_gpu_access_counters.c.
 */
import { ACCESS_ATOMIC, ACCESS_READ, ACCESS_WRITE, USE_KINDS } from '../engine/vm/abi.ts';
import type { AccessCounters } from './policy/access-counters.ts';
import { GROUP_SHIFT } from './policy/block.ts';

/** Uses of one group. */
export interface GroupUses {
  readonly reads: number;
  readonly writes: number;
  readonly atomics: number;
}

const NO_USES = new Uint32Array(USE_KINDS);

/** See the file header. */
export class RemoteUses {
  /** Told of each use, and gives notifications; null counts groups only. */
  counters: AccessCounters | null = null;
  /** All uses so far. */
  total = 0;
  private readonly groups = new Map<number, Uint32Array>();

  /**
   * Counts what a pass did to a page.
   *
   * @param uses counters of frames by kind, as a pass leaves them
   * @param at the first of the page's
   * @returns the page's uses
   */
  add(page: number, uses: Uint32Array, at: number): number {
    let sum = 0;
    for (let kind = 0; kind < USE_KINDS; kind++) sum += uses[at + kind]!;
    if (sum === 0) return 0;
    const group = page >>> GROUP_SHIFT;
    let counts = this.groups.get(group);
    if (counts === undefined) this.groups.set(group, (counts = new Uint32Array(USE_KINDS)));
    for (let kind = 0; kind < USE_KINDS; kind++) counts[kind]! += uses[at + kind]!;
    this.counters?.touch(page, sum);
    this.total += sum;
    return sum;
  }

  /** Uses of the group that a page belongs to. */
  of(page: number): GroupUses {
    const counts = this.groups.get(page >>> GROUP_SHIFT) ?? NO_USES;
    const [reads, writes, atomics] = [ACCESS_READ, ACCESS_WRITE, ACCESS_ATOMIC].map(
      (kind) => counts[kind]!,
    );
    return { reads: reads!, writes: writes!, atomics: atomics! };
  }

  /** Starts the group of a page anew, as when its pages have moved. */
  clear(page: number): void {
    this.groups.delete(page >>> GROUP_SHIFT);
  }
}
