/* Asks hmm_range_fault about ranges of a bench, and puts its answers in words. */
import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import {
  HMM_PFN_ERROR,
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToPage,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import type { HmmRange } from '../../../src/mm/hmm.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { expectSync } from './fixture.ts';
import { pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';

export const READ = HMM_PFN_REQ_FAULT;
export const WRITE = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;

export interface Request {
  readonly defaultFlags?: number;
  readonly mask?: number;
  /** Inputs; 0 by default. */
  readonly pfns?: readonly number[];
  /** The device of the bench by default. */
  readonly owner?: unknown;
}

export class HmmRig {
  private readonly bench: Bench;

  constructor(bench: Bench) {
    this.bench = bench;
  }

  /** A range over `pages` pages, with a notifier that notes what hits it. */
  range(addr: number, pages: number, request: Request = {}): HmmRange {
    const { defaultFlags = 0, mask = 0, pfns, owner = this.bench.device } = request;
    const notifier = newMmuIntervalNotifier(null);
    const status = mmuIntervalNotifierInsert(notifier, this.bench.mm, 0, TASK_SIZE, {
      invalidate: (sub, _range, curSeq) => {
        mmuIntervalSetSeq(sub, curSeq);
        return true;
      },
    });
    expect(status).toBe(0);
    return {
      notifier,
      notifierSeq: expectSync(mmuIntervalReadBegin(notifier)),
      start: addr,
      end: addr + pages * PAGE_SIZE,
      hmmPfns: pfns === undefined ? new Uint32Array(pages) : Uint32Array.from(pfns),
      defaultFlags,
      pfnFlagsMask: mask,
      devPrivateOwner: owner,
    };
  }

  /** Runs it under the mmap lock, and again as long as something of it changed; its status. */
  async run(range: HmmRange): Promise<number> {
    const { mm } = this.bench;
    for (;;) {
      range.notifierSeq = await mmuIntervalReadBegin(range.notifier);
      expectSync(mm.mmapLock.readLock());
      const status = await hmmRangeFault(range);
      mm.mmapLock.readUnlock();
      if (status === errno.EBUSY) continue;
      const isStale = mmuIntervalReadRetry(range.notifier, range.notifierSeq);
      expect(status === 0 && isStale).toBe(false);
      return status;
    }
  }

  /** Runs a request; its outputs in words, or its errno. */
  async look(addr: number, pages: number, request: Request = {}): Promise<string> {
    const range = this.range(addr, pages, request);
    const status = await this.run(range);
    return status === 0 ? words(range) : String(status);
  }

  protect(addr: number, pages: number, prot: number): void {
    const changed = doMprotect(this.bench.mm, addr, pages * PAGE_SIZE, prot);
    expect(expectSync(changed)).toBe(0);
  }

  /** Pages that hmm_range_fault has faulted so far. */
  faults(): number {
    return this.bench.sys.vmstat.read('hmm_fault');
  }
}

/** An output in words: R, W, E (error), - (could be faulted later). The frame is checked. */
export function word(entry: number, mm: MmStruct, addr: number): string {
  if ((entry & HMM_PFN_ERROR) !== 0) {
    expect(entry).toBe(HMM_PFN_ERROR);
    return 'E';
  }
  if ((entry & HMM_PFN_VALID) === 0) {
    expect(entry).toBe(0);
    return '-';
  }
  expect(hmmPfnToPage(entry)).toBe(pfnAt(mm, addr));
  return (entry & HMM_PFN_WRITE) === 0 ? 'R' : 'W';
}

/** All outputs of a range in words. */
export function words(range: HmmRange): string {
  const { mm } = range.notifier;
  if (mm === null) throw new Error('the notifier is gone');
  const { start, hmmPfns } = range;
  return Array.from(hmmPfns, (entry, i) => word(entry, mm, start + i * PAGE_SIZE)).join('');
}
