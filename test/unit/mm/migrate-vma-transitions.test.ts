/*
 * What becomes of one page: each row of hmm-semantics 21 that needs neither swap nor exclusive
 * access, with the states in between, and the gotchas of section 22 that are migration's.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { isPending } from '../../../src/base/maybe.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmRangeFault,
} from '../../../src/mm/hmm.ts';
import { MAP_PRIVATE, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { PG_ANON_EXCLUSIVE } from '../../../src/mm/page.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_DEVICE_PRIVATE_WRITE,
  LEAF_MIGRATION_READ,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  LEAF_MIGRATION_WRITE,
  PTE_DIRTY,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_YOUNG,
  leafKind,
  mkPte,
  ptePresent,
  pteWrite,
} from '../../../src/mm/swapops.ts';
import { copyFromUser, copyToUser } from '../../../src/mm/uaccess.ts';
import { RW, expectSync, load, mapAnon, pteAt, store } from './fixture.ts';
import {
  Migration,
  TO_RAM,
  checkAtRest,
  forgePte,
  makeBench,
  mapFilled,
  mapOnDevice,
  pfnAt,
} from './migration.ts';
import type { Bench } from './migration.ts';
import { makeGate } from './tiny-device.ts';

let bench: Bench;

beforeEach(() => {
  bench = makeBench();
});

afterEach(() => checkAtRest(bench));

const KINDS = new Map([
  [LEAF_MIGRATION_READ, 'MIG-R'],
  [LEAF_MIGRATION_READ_EXCLUSIVE, 'MIG-RX'],
  [LEAF_MIGRATION_WRITE, 'MIG-W'],
  [LEAF_DEVICE_PRIVATE_READ, 'DP-R'],
  [LEAF_DEVICE_PRIVATE_WRITE, 'DP-W'],
]);

/** The state of a page in the words of the table: "present RW excl", "DP-R", "zero", "none". */
function stateOf(mm: MmStruct, addr: number): string {
  const pte = pteAt(mm, addr);
  if (pte === 0) return 'none';
  const excl = mm.sys.mem.testFlag(pfnAt(mm, addr), PG_ANON_EXCLUSIVE) ? ' excl' : '';
  if (!ptePresent(pte)) return (KINDS.get(leafKind(pte)) ?? '?') + excl;
  if ((pte & PTE_SPECIAL) !== 0) return 'zero';
  return (pteWrite(pte) ? 'present RW' : 'present RO') + excl;
}

function fork(mm: MmStruct): MmStruct {
  const child = expectSync(dupMmap(mm));
  if (typeof child === 'number') throw new Error(`fork: ${child}`);
  return child;
}

function protect(mm: MmStruct, addr: number, prot: number): void {
  expect(expectSync(doMprotect(mm, addr, PAGE_SIZE, prot))).toBe(0);
}

/** A CPU access to a page on the device, with what all `mms` show while the copy runs. */
async function touch(
  mm: MmStruct,
  addr: number,
  isWrite: boolean,
  mms: readonly MmStruct[] = [mm],
): Promise<string[]> {
  const { gate, open } = makeGate();
  bench.device.gate = gate;
  const bytes = Uint8Array.of(55);
  const access = isWrite ? copyToUser(mm, addr, bytes) : copyFromUser(mm, addr, bytes);
  expect(isPending(access)).toBe(true);
  const during = mms.map((one) => stateOf(one, addr));
  bench.device.gate = null;
  open();
  expect(await access).toBe(0);
  expect(load(mm, addr)).toBe(isWrite ? 55 : bytes[0]);
  return during;
}

/** Migrates one page to the device; the states in between and after. */
function toDevice(mm: MmStruct, addr: number, mms: readonly MmStruct[] = [mm]): string[] {
  const migration = new Migration({ ...bench, mm }, addr, 1).setup();
  const during = mms.map((one) => stateOf(one, addr));
  migration.supply().pages().finalize();
  expect(migration.reasons).toEqual(['none']);
  return [...during, ...mms.map((one) => stateOf(one, addr))];
}

describe('to the device', () => {
  test('none, VMA writable [F46]', () => {
    const addr = mapAnon(bench.mm, 1);
    expect(toDevice(bench.mm, addr)).toEqual(['none', 'DP-W excl']);
    expect(load(bench.mm, addr)).toBe(0);
  });

  test('none, VMA read-only [F46]', () => {
    const addr = mapAnon(bench.mm, 1, PROT_READ);
    expect(toDevice(bench.mm, addr)).toEqual(['none', 'DP-R excl']);
    expect(load(bench.mm, addr)).toBe(0);
  });

  test('zero page [F29]', () => {
    const addr = mapAnon(bench.mm, 1);
    load(bench.mm, addr);
    expect(toDevice(bench.mm, addr)).toEqual(['zero', 'DP-W excl']);
  });

  test('present RW, exclusive [F51]', () => {
    const addr = mapFilled(bench.mm, 1);
    expect(stateOf(bench.mm, addr)).toBe('present RW excl');
    expect(toDevice(bench.mm, addr)).toEqual(['MIG-W', 'DP-W excl']);
  });

  test('present RO, exclusive [F51]', () => {
    const addr = mapFilled(bench.mm, 1);
    protect(bench.mm, addr, PROT_READ);
    expect(stateOf(bench.mm, addr)).toBe('present RO excl');
    expect(toDevice(bench.mm, addr)).toEqual(['MIG-RX', 'DP-R excl']);
  });

  test('present RO, shared by two address spaces: both follow [F33] [F51]', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    expect([stateOf(mm, addr), stateOf(child, addr)]).toEqual(['present RO', 'present RO']);
    const states = ['MIG-R', 'MIG-R', 'DP-R', 'DP-R'];
    expect(toDevice(mm, addr, [mm, child])).toEqual(states);
    expect([load(child, addr), load(mm, addr)]).toEqual([1, 1]);
  });

  test('present RO, exclusive, in a process that has forked: still exclusive', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    fork(mm);
    store(mm, addr, 2);
    protect(mm, addr, PROT_READ);
    expect(stateOf(mm, addr)).toBe('present RO excl');
    const migration = new Migration(bench, addr, 1).setup();
    expect(stateOf(mm, addr)).toBe('MIG-RX');
    migration.finalize();
    expect(stateOf(mm, addr)).toBe('present RO excl');
    expect(toDevice(mm, addr)).toEqual(['MIG-RX', 'DP-R excl']);
  });

  test('migrated from the child, the parent follows too', () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    expect(toDevice(child, addr, [mm, child])).toEqual(['MIG-R', 'MIG-R', 'DP-R', 'DP-R']);
    expect(expectSync(mmput(mm))).toBeUndefined();
    bench = { ...bench, mm: child };
    expect(load(child, addr)).toBe(1);
  });

  test.each(['none', 'zero', 'present RW excl', 'present RO excl', 'present RO'])(
    'refused by the driver: %s is restored [F43] [F52]',
    (state) => {
      const { mm } = bench;
      const addr = mapAnon(mm, 1);
      if (state === 'zero') load(mm, addr);
      if (state.startsWith('present')) store(mm, addr, 1);
      if (state === 'present RO excl') protect(mm, addr, PROT_READ);
      if (state === 'present RO') fork(mm);
      expect(stateOf(mm, addr)).toBe(state);
      new Migration(bench, addr, 1).setup().pages().finalize();
      expect(stateOf(mm, addr)).toBe(state);
    },
  );
});

describe('the CPU reaches for it', () => {
  test.each([
    ['read', false],
    ['write', true],
  ])('DP-W, %s: home, writable [F62]', async (_what, isWrite) => {
    const { mm, sys } = bench;
    const addr = mapOnDevice(bench, 1);
    const wpBefore = sys.vmstat.read('wp_fault');
    expect(await touch(mm, addr, isWrite)).toEqual(['MIG-W']);
    expect(stateOf(mm, addr)).toBe('present RW excl');
    expect(sys.vmstat.read('wp_fault') - wpBefore).toBe(0);
  });

  test('DP-R exclusive, read: home, read-only', async () => {
    const { mm } = bench;
    const addr = mapFilled(mm, 1);
    protect(mm, addr, PROT_READ);
    toDevice(mm, addr);
    expect(await touch(mm, addr, false)).toEqual(['MIG-RX']);
    expect(stateOf(mm, addr)).toBe('present RO excl');
  });

  test('DP-R exclusive, write: home, read-only, then reused by a second fault [F67]', async () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    protect(mm, addr, PROT_READ);
    toDevice(mm, addr);
    protect(mm, addr, RW);
    expect(stateOf(mm, addr)).toBe('DP-R excl');
    expect(await touch(mm, addr, true)).toEqual(['MIG-RX']);
    expect(stateOf(mm, addr)).toBe('present RW excl');
    expect([sys.vmstat.read('wp_fault'), sys.vmstat.read('cow_copy')]).toEqual([1, 0]);
  });

  test('DP-R shared, write: home in both, then copied for the writer [F102]', async () => {
    const { mm, sys } = bench;
    const addr = mapFilled(mm, 1);
    const child = fork(mm);
    toDevice(mm, addr);
    expect(await touch(child, addr, true, [mm, child])).toEqual(['MIG-R', 'MIG-R']);
    expect([stateOf(mm, addr), stateOf(child, addr)]).toEqual(['present RO', 'present RW excl']);
    expect([sys.vmstat.read('cow_copy'), bench.device.faults]).toEqual([1, 1]);
    expect([load(mm, addr), load(child, addr)]).toEqual([1, 55]);
  });

  test("gotcha 10: the child's read drags the parent's page home [F5]", async () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    expect(await touch(child, addr, false, [mm, child])).toEqual(['MIG-R', 'MIG-R']);
    expect([stateOf(mm, addr), stateOf(child, addr)]).toEqual(['present RO', 'present RO']);
  });
});

describe('fork and mprotect', () => {
  test('DP-W and DP-R become DP-R in both, not exclusive [F101]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    const child = fork(mm);
    expect([stateOf(mm, addr), stateOf(child, addr)]).toEqual(['DP-R', 'DP-R']);
    const grandchild = fork(child);
    expect(stateOf(grandchild, addr)).toBe('DP-R');
    expect(bench.sys.mem.refcount[pfnAt(mm, addr)]).toBe(3);
  });

  test('gotcha 14: DP-W loses WRITE to mprotect, and does not get it back [F105]', () => {
    const { mm } = bench;
    const addr = mapOnDevice(bench, 1);
    protect(mm, addr, PROT_READ);
    expect(stateOf(mm, addr)).toBe('DP-R excl');
    protect(mm, addr, RW);
    expect(stateOf(mm, addr)).toBe('DP-R excl');
  });
});

describe('hmm_range_fault', () => {
  /** Faults one page on behalf of `owner`; the output entry. */
  async function fault(addr: number, owner: unknown, flags: number): Promise<number> {
    const { mm } = bench;
    const notifier = newMmuIntervalNotifier(null);
    const ops = { invalidate: () => true };
    expect(mmuIntervalNotifierInsert(notifier, mm, addr, PAGE_SIZE, ops)).toBe(0);
    const range = {
      notifier,
      notifierSeq: expectSync(mmuIntervalReadBegin(notifier)),
      start: addr,
      end: addr + PAGE_SIZE,
      hmmPfns: new Uint32Array(1),
      defaultFlags: flags,
      pfnFlagsMask: 0,
      devPrivateOwner: owner,
    };
    expectSync(mm.mmapLock.readLock());
    expect(await hmmRangeFault(range)).toBe(0);
    mm.mmapLock.readUnlock();
    return range.hmmPfns[0]!;
  }

  const READ = HMM_PFN_REQ_FAULT;
  const WRITE = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;

  test('of a stranger brings DP-W home as a CPU access would', async () => {
    const addr = mapOnDevice(bench, 1);
    const entry = await fault(addr, {}, READ);
    expect(stateOf(bench.mm, addr)).toBe('present RW excl');
    expect(entry).toBe((HMM_PFN_VALID | HMM_PFN_WRITE | pfnAt(bench.mm, addr)) >>> 0);
  });

  test('of the owner leaves DP-W where it is, for reading and writing', async () => {
    const addr = mapOnDevice(bench, 1);
    const expected = (HMM_PFN_VALID | HMM_PFN_WRITE | pfnAt(bench.mm, addr)) >>> 0;
    expect(await fault(addr, bench.device, READ)).toBe(expected);
    expect(await fault(addr, bench.device, WRITE)).toBe(expected);
    expect([stateOf(bench.mm, addr), bench.device.faults]).toEqual(['DP-W excl', 0]);
  });

  test('gotcha 1: of the owner for write on DP-R succeeds without WRITE [F77]', async () => {
    const addr = mapOnDevice(bench, 1);
    fork(bench.mm);
    const expected = (HMM_PFN_VALID | pfnAt(bench.mm, addr)) >>> 0;
    expect(await fault(addr, bench.device, WRITE)).toBe(expected);
    expect([stateOf(bench.mm, addr), bench.device.faults]).toEqual(['DP-R', 0]);
  });
});

test('soft-dirty and uffd-wp go to the device and come back, young and dirty do not [F8]', () => {
  const { mm } = bench;
  const addr = mapFilled(mm, 2);
  const marks = PTE_SOFT_DIRTY | PTE_UFFD_WP;
  const all = marks | PTE_YOUNG | PTE_DIRTY;
  const at = [addr, addr + PAGE_SIZE];
  forgePte(mm, addr, mkPte(pfnAt(mm, addr), all));
  forgePte(mm, addr + PAGE_SIZE, mkPte(pfnAt(mm, addr + PAGE_SIZE), 0));
  const bits = () => at.map((one) => pteAt(mm, one) & all);
  expect(expectSync(bench.device.migrateIn(mm, addr, 2))).toBe(2);
  expect(bits()).toEqual([marks, 0]);
  new Migration(bench, addr, 2, TO_RAM).run();
  expect(bits()).toEqual([marks, 0]);
});

test('gotcha 9: WRITE in dst changes nothing for the CPU', () => {
  const { mm } = bench;
  const addr = mapFilled(mm, 1);
  protect(mm, addr, PROT_READ);
  const migration = new Migration(bench, addr, 1).setup().supply();
  migration.args.dst[0]! |= 8;
  migration.pages().finalize();
  expect(stateOf(mm, addr)).toBe('DP-R excl');
});

test('gotcha 12: a device page that is mapped once and idle has one reference [F2]', () => {
  const addr = mapOnDevice(bench, 1);
  expect(bench.sys.mem.refcount[pfnAt(bench.mm, addr)]).toBe(1);
});

test('over the border of two page tables that do not follow each other', () => {
  const { mm } = bench;
  const big = mapAnon(mm, (2 * PMD_SIZE) / PAGE_SIZE);
  const border = big - (big % PMD_SIZE) + PMD_SIZE;
  const elsewhere = mapAnon(mm, 1, RW, MAP_PRIVATE, 0x40000000);
  const at = [-2, -1, 0, 1].map((i) => border + i * PAGE_SIZE);
  store(mm, at[0]!, 1);
  store(mm, at[1]!, 2);
  store(mm, elsewhere, 9);
  store(mm, at[2]!, 3);
  store(mm, at[3]!, 4);
  expect(expectSync(bench.device.migrateIn(mm, at[0]!, 4))).toBe(4);
  expect(at.map((addr) => stateOf(mm, addr))).toEqual(Array(4).fill('DP-W excl'));
  new Migration(bench, at[0]!, 4, TO_RAM).run();
  expect(at.map((addr) => load(mm, addr))).toEqual([1, 2, 3, 4]);
  expect(bench.device.faults).toBe(0);
});

test('back and forth many times, each byte survives', () => {
  const { mm } = bench;
  const addr = mapFilled(mm, 8);
  for (let round = 0; round < 20; round++) {
    expect(expectSync(bench.device.migrateIn(mm, addr, 8))).toBe(8);
    for (let i = 0; i < 8; i++) {
      const at = addr + i * PAGE_SIZE;
      expect(load(mm, at)).toBe((i + 1 + round) % 256);
      store(mm, at, (i + 2 + round) % 256);
    }
  }
  expect(bench.device.used).toBe(0);
});
