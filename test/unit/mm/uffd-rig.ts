/* A userfaultfd monitor for tests: one process of a bench, one context, accesses that wait. */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import type { UserfaultfdCtx } from '../../../src/mm/fs-userfaultfd.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { copyFromUser, copyToUser } from '../../../src/mm/uaccess.ts';
import type { CopyFault } from '../../../src/mm/uaccess.ts';
import {
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  userfaultfdCopy,
  userfaultfdCreate,
  userfaultfdRegister,
  userfaultfdWriteprotect,
} from '../../../src/mm/userfaultfd-register.ts';
import { expectSync, mapAnon, store } from './fixture.ts';

export const MISSING = UFFDIO_REGISTER_MODE_MISSING;
export const WP = UFFDIO_REGISTER_MODE_WP;

/** An access that may still wait, and how it ended. */
export interface Access {
  readonly done: Promise<void>;
  /** FAULT_* once it is over, null before. */
  outcome: number | null;
  /** The byte that a load found. */
  byte: number;
}

export class UffdRig {
  readonly mm: MmStruct;
  readonly ctx: UserfaultfdCtx;

  constructor(mm: MmStruct, features = 0) {
    this.mm = mm;
    const ctx = userfaultfdCreate(mm, features);
    if (typeof ctx === 'number') throw new Error(`userfaultfd: ${ctx}`);
    this.ctx = ctx;
  }

  /** Registers pages; the call must succeed. */
  register(addr: number, pages: number, mode = MISSING): void {
    const result = expectSync(userfaultfdRegister(this.ctx, addr, pages * PAGE_SIZE, mode));
    expect(result).toBeGreaterThan(0);
  }

  /** Write-protects pages, or takes that back; the call must succeed. */
  protect(addr: number, pages: number, mode = 1): void {
    const result = userfaultfdWriteprotect(this.ctx, addr, pages * PAGE_SIZE, mode);
    expect(expectSync(result)).toBe(0);
  }

  /** Fills one page with `byte` by UFFDIO_COPY; what that answers. */
  async copy(addr: number, byte: number, mode = 0): Promise<number> {
    const src = mapAnon(this.mm, 1);
    store(this.mm, src, ...Array.from({ length: PAGE_SIZE }, () => byte));
    return userfaultfdCopy(this.ctx, addr, src, PAGE_SIZE, mode);
  }

  /** Starts a load of one byte. */
  load(addr: number): Access {
    const bytes = new Uint8Array(1);
    return this.start((fault) => copyFromUser(this.mm, addr, bytes, fault), bytes);
  }

  /** Starts a store of one byte. */
  store(addr: number, byte = 0xee): Access {
    const bytes = Uint8Array.of(byte);
    return this.start((fault) => copyToUser(this.mm, addr, bytes, fault), bytes);
  }

  private start(copy: (fault: CopyFault) => number | Promise<number>, bytes: Uint8Array): Access {
    const fault: CopyFault = { outcome: 0, address: 0 };
    const access: { done: Promise<void>; outcome: number | null; byte: number } = {
      done: Promise.resolve(),
      outcome: null,
      byte: -1,
    };
    access.done = Promise.resolve(copy(fault)).then(() => {
      access.outcome = fault.outcome;
      access.byte = bytes[0]!;
    });
    return access;
  }
}

/** Lets everything run that does not wait for somebody. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await Promise.resolve();
}
