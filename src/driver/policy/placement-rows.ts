/**
 * Lists that the fault service fills over and over: the pages of a step, the faults of a group.
 */
import { BLOCK_PAGES, BLOCK_SHIFT } from './block.ts';
import type { FaultGroup } from './policy.ts';

/** The page could not be moved. */
export const MOVE_FAILED = 1;
/** It was moved, and may only be read for now: somebody else has a copy, or watches stores. */
export const MOVED_READABLE = 2;

/** Pages to move, map or send home. */
export interface PlacementStep {
  readonly kind: 'migrate' | 'duplicate' | 'remote' | 'evict' | 'home';
  readonly count: number;
  /** The first `count` are the step's. */
  readonly pages: Int32Array;
  /** The driver sets MOVE_FAILED or MOVED_READABLE for a page that it could not move as asked. */
  readonly failed: Uint8Array;
}

/** A step that is used over and over. */
export class PageStep implements PlacementStep {
  readonly kind: PlacementStep['kind'];
  count = 0;
  pages = new Int32Array(1024);
  failed = new Uint8Array(1024);

  constructor(kind: PlacementStep['kind']) {
    this.kind = kind;
  }

  add(page: number): void {
    if (this.count === this.pages.length) {
      const pages = new Int32Array(this.count * 2);
      pages.set(this.pages);
      this.pages = pages;
      this.failed = new Uint8Array(this.count * 2);
    }
    this.failed[this.count] = 0;
    this.pages[this.count++] = page;
  }
}

/** The faults of one block, as they are collected. */
export class GroupRows implements FaultGroup {
  count = 0;
  context = 0;
  readonly pages = new Int32Array(BLOCK_PAGES);
  readonly access = new Uint8Array(BLOCK_PAGES);
  readonly workgroups = new Int32Array(BLOCK_PAGES);
  /** Representatives of the batch that the faults stand for. */
  readonly rows = new Int32Array(BLOCK_PAGES);

  get block(): number {
    return this.pages[0]! >>> BLOCK_SHIFT;
  }

  add(page: number, access: number, workgroup: number, context: number, row: number): void {
    const i = this.count++;
    this.pages[i] = page;
    this.access[i] = access;
    this.workgroups[i] = workgroup;
    this.rows[i] = row;
    this.context = context;
  }
}
