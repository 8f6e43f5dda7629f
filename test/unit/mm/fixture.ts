/*
 * A small machine for tests of mm, and short ways to use it. Everything is real mm code;
 * `expectSync` insists that nothing had to wait.
 */
import { expect } from 'vitest';
import { isErr } from '../../../src/base/errno.ts';
import { isPending } from '../../../src/base/maybe.ts';
import type { MaybePromise } from '../../../src/base/maybe.ts';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { mmAlloc } from '../../../src/mm/fork.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
  VM_SOFTDIRTY,
} from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { createSystem } from '../../../src/mm/system.ts';
import { copyFromUser, copyToUser } from '../../../src/mm/uaccess.ts';
import type { CopyFault } from '../../../src/mm/uaccess.ts';

export const RW = PROT_READ | PROT_WRITE;

/** The value of something that must not have to wait. */
export function expectSync<T>(value: MaybePromise<T>): T {
  if (isPending(value)) throw new Error('this should not have had to wait');
  return value;
}

export function makeSystem(
  ramPages = 256,
  devicePages = 64,
  maxTables = 256,
  coherentPages = 0,
): System {
  const ramBytes = ramPages * PAGE_SIZE;
  const sys = createSystem({ ramBytes, devicePages, maxTables, coherentPages });
  if (typeof sys === 'number') throw new Error(`createSystem: ${sys}`);
  return sys;
}

export function makeMm(sys: System): MmStruct {
  const mm = mmAlloc(sys);
  if (typeof mm === 'number') throw new Error(`mmAlloc: ${mm}`);
  return mm;
}

/** Maps `pages` of private (or shared) anonymous memory; its address. */
export function mapAnon(
  mm: MmStruct,
  pages: number,
  prot = RW,
  sharing = MAP_PRIVATE,
  addr = 0,
): number {
  const flags = sharing | MAP_ANONYMOUS;
  const result = expectSync(doMmap(mm, { addr, length: pages * PAGE_SIZE, prot, flags }));
  expect(isErr(result)).toBe(false);
  return result;
}

export function mapShared(mm: MmStruct, pages: number, prot = RW): number {
  return mapAnon(mm, pages, prot, MAP_SHARED);
}

/** Stores bytes; throws when that fails. */
export function store(mm: MmStruct, addr: number, ...bytes: number[]): void {
  expect(expectSync(copyToUser(mm, addr, Uint8Array.from(bytes)))).toBe(0);
}

/** Loads one byte; throws when that fails. */
export function load(mm: MmStruct, addr: number): number {
  const byte = new Uint8Array(1);
  expect(expectSync(copyFromUser(mm, addr, byte))).toBe(0);
  return byte[0]!;
}

/** The outcome (FAULT_*) of a one-byte load, 0 when it works. */
export function loadOutcome(mm: MmStruct, addr: number): number {
  const fault: CopyFault = { outcome: 0, address: 0 };
  expectSync(copyFromUser(mm, addr, new Uint8Array(1), fault));
  return fault.outcome;
}

/** The outcome (FAULT_*) of a one-byte store, 0 when it works. */
export function storeOutcome(mm: MmStruct, addr: number): number {
  const fault: CopyFault = { outcome: 0, address: 0 };
  expectSync(copyToUser(mm, addr, Uint8Array.of(0xee), fault));
  return fault.outcome;
}

/** The page table entry for an address, 0 when there is none. */
export function pteAt(mm: MmStruct, addr: number): number {
  return mm.sys.pageTables.words[mm.sys.pageTables.pteOffset(mm.pgd, addr)]!;
}

/** VMAs as [first page, pages, vmFlags without VM_SOFTDIRTY], relative to `base`. */
export function vmaShape(mm: MmStruct, base: number): number[][] {
  return mm.vmas.map((vma) => [
    (vma.vmStart - base) / PAGE_SIZE,
    (vma.vmEnd - vma.vmStart) / PAGE_SIZE,
    vma.vmFlags & ~VM_SOFTDIRTY,
  ]);
}

/** An event that a subscription over all of an address space saw, in pages relative to `base`. */
export interface SeenEvent {
  readonly event: number;
  readonly from: number;
  readonly pages: number;
  /** Whether the first entry was still there when the event came. */
  readonly pteBefore: number;
}

/** Subscribes to everything; returns the list that events are added to. */
export function watch(mm: MmStruct, base: number): SeenEvent[] {
  const seen: SeenEvent[] = [];
  const sub = newMmuIntervalNotifier(null);
  const status = mmuIntervalNotifierInsert(sub, mm, 0, TASK_SIZE, {
    invalidate: (_sub, range, curSeq) => {
      mmuIntervalSetSeq(sub, curSeq);
      seen.push({
        event: range.event,
        from: (range.start - base) / PAGE_SIZE,
        pages: (range.end - range.start) / PAGE_SIZE,
        pteBefore: pteAt(mm, range.start),
      });
      return true;
    },
  });
  expect(status).toBe(0);
  return seen;
}
