/*
 * Large folios and coherent devices: their one chunk is of single pages, as in Linux, so a folio
 * falls apart on the way there. What comes home are single pages, too.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PMD_SIZE } from '../../../src/base/units.ts';
import { PAGE_DEVICE, PAGE_RAM, PROT_READ } from '../../../src/index.ts';
import type { TestDevice } from '../../../src/index.ts';
import { findProblems } from '../../../src/sim/check-invariants.ts';
import { MIB, RW, expectBytes, makeRig, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const HUGE = HPAGE_PMD_NR;

let rig: Rig;
let coherent: TestDevice;

beforeEach(async () => {
  rig = await makeRig({ ramBytes: 32 * MIB, deviceBytes: 16 * MIB, thp: 'always' });
  coherent = await rig.process.openDevice(2);
});

afterEach(async () => {
  const { sys } = rig.machine.kernel;
  const references = new Map(sys.hugeZeroPfn === 0 ? [] : [[sys.hugeZeroPfn, 0]]);
  expect(findProblems(sys, { references })).toEqual([]);
  await rig.machine.close();
  expect(sys.pageTables.tablesInUse).toBe(0);
});

/** An aligned range of 2 MiB. */
async function mapHuge(prot = RW): Promise<number> {
  const hole = await rig.process.mmap({ length: 2 * PMD_SIZE, prot });
  return Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
}

async function codes(addr: number): Promise<Set<number>> {
  return new Set(await rig.process.pageMap(addr, HUGE));
}

async function smallPages(): Promise<number> {
  const { sys, devices } = rig.machine.kernel;
  const { startPfn } = devices[2]!.memory;
  let live = 0;
  for (let pfn = startPfn; pfn < startPfn + HUGE; pfn++) if (sys.mem.refcount[pfn]! > 0) live++;
  return live;
}

test('a large folio of RAM arrives as single pages, and the CPU reads them there', async () => {
  const addr = await mapHuge();
  await rig.process.write(addr, pattern(HUGE, 1));
  expect(await run(coherent, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
  expect([await codes(addr), await smallPages()]).toEqual([new Set([PAGE_DEVICE + 2]), HUGE]);
  expectBytes(await rig.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
  expect(await run(coherent, 'ADD', addr, HUGE, 5)).toBe(`0 ${HUGE} 0`);
  expectBytes(await rig.process.read(addr, PMD_SIZE), pattern(HUGE, 6));
  expect((await rig.machine.counters()).vm['device_private_fault']).toBe(0);
});

test('what was a large folio comes home by MIGRATE_TO_SYS and by RELEASE', async () => {
  const addr = await mapHuge();
  await rig.process.write(addr, pattern(HUGE, 1));
  await run(coherent, 'MIGRATE_TO_DEV', addr, HUGE);
  expect(await run(coherent, 'MIGRATE_TO_SYS', addr, HUGE)).toBe(`0 ${HUGE} 0`);
  expect([await codes(addr), await smallPages()]).toEqual([new Set([PAGE_RAM]), 0]);
  await run(coherent, 'MIGRATE_TO_DEV', addr, HUGE);
  expect(await run(coherent, 'RELEASE', addr, HUGE)).toBe('0 0 0');
  expect(await codes(addr)).toEqual(new Set([PAGE_RAM]));
  expectBytes(await rig.process.read(addr, PMD_SIZE), pattern(HUGE, 1));
});

test.each([
  ['a huge hole', RW, false],
  ['a huge hole that may only be read', PROT_READ, false],
  ['the huge zero page', PROT_READ, true],
])('%s becomes single pages of zeroes', async (_what, prot, isTouched) => {
  const addr = await mapHuge(prot);
  if (isTouched) await rig.process.touch(addr, 'read');
  expect(await run(coherent, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
  expect([await codes(addr), await smallPages()]).toEqual([new Set([PAGE_DEVICE + 2]), HUGE]);
  expectBytes(await rig.process.read(addr, PMD_SIZE), new Uint8Array(PMD_SIZE));
});

test('a folio of a private device does not go there', async () => {
  const addr = await mapHuge();
  await rig.process.write(addr, pattern(HUGE, 1));
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, HUGE)).toBe(`0 ${HUGE} 0`);
  expect(await run(coherent, 'MIGRATE_TO_DEV', addr, HUGE)).toMatch(/^-2 /);
  expect(await codes(addr)).toEqual(new Set([PAGE_DEVICE]));
});
