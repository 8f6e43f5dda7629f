/**
 * Access traces: what each workgroup of a kernel touches, in order, with everything resident. What
 * faults depends on the policy; what is accessed does not, so one trace can be driven under all of
 * them.
 *
 * A workgroup has lanes, each a list of accesses that stops at its first fault; a barrier makes the
 * lanes of a workgroup wait for each other. A kernel recorded per workgroup has one lane each.
 */
import { BLOCK_PAGES } from './block.ts';
import type { Region } from './policy.ts';
import { NO_HINTS } from './policy.ts';

/** In place of an access: the lanes of the workgroup meet here. */
export const BARRIER = 7;

/** A trace. Lanes are in the order of their workgroups. */
export interface AccessTrace {
  readonly name: string;
  readonly regions: readonly Region[];
  readonly workgroups: number;
  /** The workgroup of each lane, and where its accesses begin; one entry more for the end. */
  readonly laneWorkgroup: Int32Array;
  readonly laneStart: Int32Array;
  /** Page and kind of each access. */
  readonly pages: Int32Array;
  readonly access: Uint8Array;
}

/** A trace that can't be, in words for the user. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** Writes a trace, lane by lane. */
export class TraceWriter {
  private readonly name: string;
  private readonly regions: readonly Region[];
  private readonly laneWorkgroup: number[] = [];
  private readonly laneStart: number[] = [];
  private pages = new Int32Array(1024);
  private access = new Uint8Array(1024);
  private count = 0;
  private workgroup = -1;

  constructor(name: string, regions: readonly Region[]) {
    this.name = name;
    this.regions = regions;
  }

  /** Begins the next lane. @param isNew whether it is the first of another workgroup */
  lane(isNew = true): void {
    if (isNew) this.workgroup++;
    this.laneWorkgroup.push(Math.max(0, this.workgroup));
    this.laneStart.push(this.count);
  }

  /** Adds an access to the lane; one that repeats the access before it is left out. */
  touch(page: number, access: number): void {
    const last = this.count - 1;
    const isFirst = last < this.laneStart[this.laneStart.length - 1]!;
    if (!isFirst && access !== BARRIER && this.pages[last] === page) {
      if (this.access[last]! >= access && this.access[last] !== BARRIER) return;
    }
    if (this.count === this.pages.length) this.grow();
    this.pages[this.count] = page;
    this.access[this.count++] = access;
  }

  /** Nobody goes on until all have come here. */
  barrier(): void {
    this.touch(0, BARRIER);
  }

  /** The trace as written so far. */
  finish(): AccessTrace {
    return {
      name: this.name,
      regions: this.regions,
      workgroups: this.workgroup + 1,
      laneWorkgroup: Int32Array.from(this.laneWorkgroup),
      laneStart: Int32Array.from([...this.laneStart, this.count]),
      pages: this.pages.slice(0, this.count),
      access: this.access.slice(0, this.count),
    };
  }

  private grow(): void {
    const pages = new Int32Array(this.pages.length * 2);
    pages.set(this.pages);
    this.pages = pages;
    const access = new Uint8Array(this.access.length * 2);
    access.set(this.access);
    this.access = access;
  }
}

/** A writable region of an address space, without hints. */
export function plainRegion(first: number, pages: number, context = 0): Region {
  const outer = first + pages;
  return { first, outer, context, isWritable: true, isMigratable: true, hints: NO_HINTS };
}

/** Regions of so many pages one behind the other, each beginning at a block. */
export function plainRegions(...pages: number[]): Region[] {
  let next = 0;
  return pages.map((count) => {
    const region = plainRegion(next, count);
    next = Math.ceil((next + count) / BLOCK_PAGES) * BLOCK_PAGES;
    return region;
  });
}

/** Distinct pages that a trace touches. */
export function footprint(trace: AccessTrace): number {
  const seen = new Set<number>();
  for (let i = 0; i < trace.pages.length; i++) {
    if (trace.access[i] !== BARRIER) seen.add(trace.pages[i]!);
  }
  return seen.size;
}
