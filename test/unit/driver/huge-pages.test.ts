/**
 * Large folios from end to end: faults, migration both ways as one entry, fallbacks to single
 * pages, and what fork, munmap, mprotect do with them, on the CPU engine.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { PAGE_DEVICE, PAGE_RAM, PAGE_ZERO, PROT_READ } from '../../../src/index.ts';
import { ptePresent } from '../../../src/mm/swapops.ts';
import { findProblems } from '../../../src/sim/check-invariants.ts';
import { MIB, RW, expectBytes, makeRig, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const rigs: Rig[] = [];

async function rig(options = {}): Promise<Rig> {
  const made = await makeRig({
    ramBytes: 32 * MIB,
    deviceBytes: 16 * MIB,
    chunkBytes: 4 * MIB,
    thp: 'always',
    ...options,
  });
  rigs.push(made);
  return made;
}

/** Every test leaves a consistent machine that gives everything back. */
afterEach(async () => {
  for (const { machine } of rigs.splice(0)) {
    const { sys } = machine.kernel;
    expect(findProblems(sys, { references: zeroReference(sys.hugeZeroPfn) })).toEqual([]);
    await machine.close();
    const { devices } = machine.kernel.counters();
    for (const { calloc, cfree } of devices) expect(cfree).toBe(calloc);
    expect(sys.mem.waitingPages).toBe(0);
    expect(sys.pageTables.tablesInUse).toBe(0);
  }
});

/** The huge zero folio is the machine's own. */
function zeroReference(pfn: number): ReadonlyMap<number, number> {
  return new Map(pfn === 0 ? [] : [[pfn, 0]]);
}

/** Maps `count` aligned PMD ranges and fills them; where they begin. */
async function mapHuge(r: Rig, count = 1, fill = true): Promise<number> {
  const hole = await r.process.mmap({ length: (count + 1) * PMD_SIZE, prot: RW });
  const addr = Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
  if (fill) await r.process.write(addr, pattern(count * HPAGE_PMD_NR, 1));
  return addr;
}

const counters = async (r: Rig, ...names: string[]): Promise<(number | undefined)[]> => {
  const { vm } = await r.machine.counters();
  return names.map((name) => vm[name]);
};

/** 'pmd', 'pte' or 'none' for the entry of an address. */
function mappedBy(r: Rig, addr: number): string {
  const { sys } = r.machine.kernel;
  for (const mm of sys.mms) {
    const at = sys.pageTables.leafOffset(mm.pgd, addr);
    if (sys.pageTables.words[at] === 0) continue;
    return sys.pageTables.pteOffset(mm.pgd, addr) === 0 ? 'pmd' : 'pte';
  }
  return 'none';
}

const HUGE = HPAGE_PMD_NR;

async function codes(r: Rig, addr: number, npages: number): Promise<Set<number>> {
  return new Set(await r.process.pageMap(addr, npages));
}

describe('faults', () => {
  test('a store makes one large folio for the whole range', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(mappedBy(r, addr)).toBe('pmd');
    expect(await counters(r, 'thp_fault_alloc', 'pgfault')).toEqual([1, 1]);
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
  });

  test('a load makes the huge zero page, a store after it a folio of zeroes [F110]', async () => {
    const r = await rig();
    const addr = await mapHuge(r, 1, false);
    expect((await r.process.read(addr + 5 * PAGE_SIZE, 1))[0]).toBe(0);
    expect(await codes(r, addr, HUGE)).toEqual(new Set([PAGE_ZERO, PAGE_RAM].slice(0, 1)));
    await r.process.write(addr + PAGE_SIZE, Uint8Array.of(9));
    expect(mappedBy(r, addr)).toBe('pmd');
    expect(await counters(r, 'thp_zero_page_alloc', 'thp_fault_alloc')).toEqual([1, 1]);
    const bytes = await r.process.read(addr, PMD_SIZE);
    expect([bytes[PAGE_SIZE], bytes.filter((byte) => byte !== 0).length]).toEqual([9, 1]);
  });

  test('without a free folio, or where none fits, single pages are used', async () => {
    const r = await rig({ ramBytes: 4 * MIB });
    const addr = await mapHuge(r, 1, false);
    r.machine.kernel.sys.pageAllocator.failAt = 1;
    await r.process.write(addr, Uint8Array.of(1));
    expect(mappedBy(r, addr)).toBe('pte');
    expect(await counters(r, 'thp_fault_fallback')).toEqual([1]);
    const small = await r.process.mmap({ length: PMD_SIZE - PAGE_SIZE, prot: RW });
    await r.process.write(small, Uint8Array.of(1));
    expect(mappedBy(r, small)).toBe('pte');
  });

  test('thp never and madvise leave plain memory to single pages', async () => {
    for (const thp of ['never', 'madvise']) {
      const r = await rig({ thp });
      const addr = await mapHuge(r);
      expect(mappedBy(r, addr)).toBe('pte');
    }
  });
});

describe('migration', () => {
  test('a large folio goes to the device and home as one entry [F25] [F26] [F109]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    expect(mappedBy(r, addr)).toBe('pmd');
    expect(await codes(r, addr, HUGE)).toEqual(new Set([PAGE_DEVICE]));
    expect(await counters(r, 'thp_migration_success', 'thp_split_page')).toEqual([1, 0]);
    expect(await run(r.device, 'ADD', addr, HUGE, 7)).toBe(`0 ${HUGE} 0`);
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 8));
    expect(mappedBy(r, addr)).toBe('pmd');
    expect(await counters(r, 'device_private_fault', 'thp_migration_success')).toEqual([1, 2]);
  });

  test('two CPUs that reach for it at once: one brings it home, the other waits [F63]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    const reads = [0, 100, 511].map((page) => r.process.read(addr + page * PAGE_SIZE, 4));
    const wanted = pattern(HUGE, 1);
    for (const [i, page] of [0, 100, 511].entries()) {
      expectBytes(await reads[i]!, wanted.slice(page * PAGE_SIZE, page * PAGE_SIZE + 4));
    }
    expect(await counters(r, 'device_private_fault', 'pgmigrate_to_ram')).toEqual([1, HUGE]);
    expect(mappedBy(r, addr)).toBe('pmd');
  });

  test('MIGRATE_TO_SYS counts a large folio once [F36]', async () => {
    const r = await rig();
    const addr = await mapHuge(r, 2);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2 * HUGE)).toBe(`0 ${2 * HUGE} 0`);
    expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 2 * HUGE)).toBe('0 2 0');
    expectBytes(await r.process.read(addr, 2 * PMD_SIZE), pattern(2 * HUGE, 1));
  });

  test('a range that is not a whole PMD splits the folio first [F111]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr + 3 * PAGE_SIZE, 4)).toBe('0 4 0');
    expect(mappedBy(r, addr)).toBe('pte');
    const map = await r.process.pageMap(addr, 8);
    expect([...map].map((code) => code >= PAGE_DEVICE)).toEqual(
      [0, 0, 0, 1, 1, 1, 1, 0].map(Boolean),
    );
    expect(await counters(r, 'thp_split_page', 'thp_migration_success')).toEqual([1, 0]);
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
  });

  test('without a large device folio the source is split into single pages [F112]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'FLAGS', PAGE_SIZE * 16, 1)).toBe('0 0 0');
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    expect(mappedBy(r, addr)).toBe('pte');
    expect(await codes(r, addr, HUGE)).toEqual(new Set([PAGE_DEVICE]));
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
  });

  test('without a large RAM folio it comes home as single pages [F114]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    r.machine.kernel.sys.pageAllocator.failAt = 1;
    expect((await r.process.read(addr + PMD_SIZE / 2, 4))[0]).toBe(((PMD_SIZE / 8) & 0xff) + 1);
    expect(mappedBy(r, addr)).toBe('pte');
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
    expect(await codes(r, addr, HUGE)).toEqual(new Set([PAGE_RAM]));
  });

  test('a hole and the huge zero page become a large device folio of zeroes [F110]', async () => {
    const r = await rig();
    const addr = await mapHuge(r, 2, false);
    await r.process.read(addr + PMD_SIZE, 1);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2 * HUGE)).toBe(`0 ${2 * HUGE} 0`);
    expect([mappedBy(r, addr), mappedBy(r, addr + PMD_SIZE)]).toEqual(['pmd', 'pmd']);
    const bytes = await r.process.read(addr, 2 * PMD_SIZE);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });

  test('no byte of an earlier owner shows in what was a hole of PMD size [F110]', async () => {
    const r = await rig();
    const old = await mapHuge(r);
    await run(r.device, 'MIGRATE_TO_DEV', old, HUGE);
    await r.process.munmap(old, PMD_SIZE);
    const addr = await mapHuge(r, 1, false);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    expect(mappedBy(r, addr)).toBe('pmd');
    expectBytes(await r.process.read(addr, PMD_SIZE), new Uint8Array(PMD_SIZE));
  });

  test('a hole of PMD size is filled by single pages when there is no large folio', async () => {
    const r = await rig();
    const addr = await mapHuge(r, 1, false);
    await r.process.read(addr, 1);
    await run(r.device, 'FLAGS', PAGE_SIZE * 16, 1);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    expect(mappedBy(r, addr)).toBe('pte');
    expect((await r.process.read(addr, PMD_SIZE)).every((byte) => byte === 0)).toBe(true);
  });

  test('RELEASE evicts large folios whole, or in pieces when RAM has no room', async () => {
    const r = await rig({ ramBytes: 8 * MIB });
    const addr = await mapHuge(r);
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    expect(await run(r.device, 'RELEASE', PAGE_SIZE * 16, 1)).toBe('0 0 0');
    expect(mappedBy(r, addr)).toBe('pmd');
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
    r.machine.kernel.sys.pageAllocator.failAt = 1;
    expect(await run(r.device, 'RELEASE', PAGE_SIZE * 16, 1)).toBe('0 0 0');
    expect(mappedBy(r, addr)).toBe('pte');
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
  });

  test('a snapshot names the order of the mapping, on the device and in RAM [F82]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    const ptr = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
    expect(await run(r.device, 'SNAPSHOT', addr + 7 * PAGE_SIZE, 3, ptr)).toBe('0 3 0');
    expect([...(await r.process.read(ptr, 3))]).toEqual([0x06, 0x06, 0x06]);
    await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE);
    expect(await run(r.device, 'SNAPSHOT', addr + 7 * PAGE_SIZE, 3, ptr)).toBe('0 3 0');
    expect([...(await r.process.read(ptr, 3))]).toEqual([0x26, 0x26, 0x26]);
  });

  test('the device reads and writes a large folio that stays in RAM', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    expect(await run(r.device, 'ADD', addr, HUGE, 3)).toBe(`0 ${HUGE} 1`);
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 4));
    expect(mappedBy(r, addr)).toBe('pmd');
  });
});

describe('address space operations', () => {
  test('fork shares a large device folio, a store copies one page [F101] [F102]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE);
    const child = await r.process.fork();
    await child.write(addr, Uint8Array.of(0xee));
    expect((await r.process.read(addr, 1))[0]).toBe(1);
    expect((await child.read(addr, 1))[0]).toBe(0xee);
    expectBytes((await child.read(addr, PMD_SIZE)).slice(4), pattern(HUGE, 1).slice(4));
    expectBytes(await r.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
    await child.exit();
  });

  test('a partial munmap splits the mapping; the rest comes home by pages [F113] [F66]', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    await run(r.device, 'MIGRATE_TO_DEV', addr, HUGE);
    await r.process.munmap(addr + PMD_SIZE / 4, PMD_SIZE / 2);
    expect(mappedBy(r, addr)).toBe('pte');
    const wanted = pattern(HUGE, 1);
    expectBytes(await r.process.read(addr, PMD_SIZE / 4), wanted.slice(0, PMD_SIZE / 4));
    const last = (PMD_SIZE / 4) * 3;
    expectBytes(await r.process.read(addr + last, PMD_SIZE / 4), wanted.slice(last));
  });

  test('mprotect of a part splits, of the whole does not', async () => {
    const r = await rig();
    const addr = await mapHuge(r, 2);
    await r.process.mprotect(addr, PMD_SIZE, PROT_READ);
    expect(mappedBy(r, addr)).toBe('pmd');
    await r.process.mprotect(addr + PMD_SIZE, PAGE_SIZE, PROT_READ);
    expect(mappedBy(r, addr + PMD_SIZE)).toBe('pte');
    await expect(r.process.write(addr, Uint8Array.of(1))).rejects.toThrow();
    await r.process.mprotect(addr, 2 * PMD_SIZE, RW);
    await r.process.write(addr, pattern(2 * HUGE, 5));
    expect(mappedBy(r, addr)).toBe('pmd');
    expectBytes(await r.process.read(addr, 2 * PMD_SIZE), pattern(2 * HUGE, 5));
  });

  test('a store to a folio that fork shares splits the mapping and copies a page', async () => {
    const r = await rig();
    const addr = await mapHuge(r);
    const child = await r.process.fork();
    await r.process.write(addr, Uint8Array.of(0xaa));
    expect(await counters(r, 'thp_split_pmd', 'cow_copy')).toEqual([1, 1]);
    expect((await child.read(addr, 1))[0]).toBe(1);
    await child.exit();
    const { sys } = r.machine.kernel;
    expect(sys.pageTables.words.some((word) => ptePresent(word))).toBe(true);
  });
});
