/* Who sends which invalidation: each change of an address space, its event, range and owner. */
import { beforeEach, expect, test } from 'vitest';
import { PAGE_SIZE, TASK_SIZE } from '../../../src/base/units.ts';
import { clearSoftDirty } from '../../../src/mm/clear-refs.ts';
import { makeDeviceExclusive } from '../../../src/mm/device-exclusive.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { memoryFailure } from '../../../src/mm/memory-failure.ts';
import { MAP_FIXED, MAP_PRIVATE, PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../../src/mm/mmu-notifier.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { RW, expectSync, load, mapAnon, store } from './fixture.ts';
import { Migration, makeBench, mapFilled, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { UffdRig, WP } from './uffd-rig.ts';

const NAMES = [
  'UNMAP',
  'CLEAR',
  'PROTECTION_VMA',
  'PROTECTION_PAGE',
  'SOFT_DIRTY',
  'RELEASE',
  'MIGRATE',
  'EXCLUSIVE',
];
const PAGES = 3;
const OWNER = { name: 'somebody' };

let bench: Bench;
let mm: MmStruct;
let addr: number;

beforeEach(() => {
  bench = makeBench();
  ({ mm } = bench);
  addr = mapFilled(mm, PAGES);
});

/** Subscribes to all of an address space: "EVENT from+pages owner" for each event. */
function watchNames(watched: MmStruct): string[] {
  const seen: string[] = [];
  const sub = newMmuIntervalNotifier(null);
  const status = mmuIntervalNotifierInsert(sub, watched, 0, TASK_SIZE, {
    invalidate: (_sub, range, curSeq) => {
      mmuIntervalSetSeq(sub, curSeq);
      const isAll = range.start === 0 && range.end > TASK_SIZE;
      const from = (range.start - addr) / PAGE_SIZE;
      const where = isAll ? 'all' : `${from}+${(range.end - range.start) / PAGE_SIZE}`;
      let owner = '';
      if (range.owner === bench.device) owner = ' device';
      else if (range.owner !== null) owner = ' other';
      seen.push(`${NAMES[range.event]} ${where}${owner}`);
      return true;
    },
  });
  expect(status).toBe(0);
  return seen;
}

function exclusive(page: number): void {
  expectSync(mm.mmapLock.readLock());
  const pfn = expectSync(makeDeviceExclusive(mm, addr + page * PAGE_SIZE, OWNER));
  mm.mmapLock.readUnlock();
  expect(pfn).toBeGreaterThan(0);
  bench.sys.mem.unlockPage(pfn);
  putPage(bench.sys, pfn);
}

function child(): MmStruct {
  return expectSync(dupMmap(mm)) as MmStruct;
}

/** What is done first, unseen; what is done then; which events that sends. */
type Case = readonly [string, () => void, () => void, readonly string[]];

const nothing = (): void => undefined;
const cases: readonly Case[] = [
  [
    'munmap: what is really unmapped',
    nothing,
    () => void expectSync(doMunmap(mm, addr + PAGE_SIZE, PAGE_SIZE)),
    ['UNMAP 1+1'],
  ],
  [
    'mmap over something',
    nothing,
    () => void mapAnon(mm, 1, RW, MAP_PRIVATE | MAP_FIXED, addr),
    ['UNMAP 0+1'],
  ],
  [
    'dropping pages',
    nothing,
    () => zapPageRange(vmaLookup(mm, addr)!, addr, addr + 2 * PAGE_SIZE),
    ['CLEAR 0+2'],
  ],
  ['copy on write', () => void child(), () => store(mm, addr + PAGE_SIZE, 9), ['CLEAR 1+1']],
  [
    'mprotect',
    nothing,
    () => void expectSync(doMprotect(mm, addr, 2 * PAGE_SIZE, PROT_READ)),
    ['PROTECTION_VMA 0+2'],
  ],
  [
    'write-protection by userfaultfd',
    nothing,
    () => {
      const rig = new UffdRig(mm);
      rig.register(addr, 1, WP);
      rig.protect(addr, 1);
    },
    ['PROTECTION_VMA 0+1'],
  ],
  ['fork', nothing, () => void child(), [`PROTECTION_PAGE 0+${PAGES}`]],
  ['clear_refs', nothing, () => void expectSync(clearSoftDirty(mm)), ['SOFT_DIRTY all']],
  ['exit', nothing, () => expectSync(mmput(mm)), ['RELEASE all', `UNMAP 0+${PAGES}`]],
  [
    'migration to a device, with its owner',
    nothing,
    () => void new Migration(bench, addr, 2).run(),
    ['MIGRATE 0+2 device'],
  ],
  [
    'migration of a hole: collected, then inserted, both with its owner',
    () => zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE),
    () => void new Migration(bench, addr, 1).run(),
    ['MIGRATE 0+1 device', 'MIGRATE 0+1 device'],
  ],
  ['exclusive access, with its owner', nothing, () => exclusive(1), ['EXCLUSIVE 1+1 other']],
  [
    'its end, without one',
    () => exclusive(1),
    () => void load(mm, addr + PAGE_SIZE),
    ['CLEAR 1+1'],
  ],
  [
    'a page that breaks',
    nothing,
    () => void expectSync(memoryFailure(bench.sys, pfnAt(mm, addr), 0)),
    ['CLEAR 0+1'],
  ],
  ['a first touch, a read: nothing', nothing, () => store(mm, mapAnon(mm, 1), load(mm, addr)), []],
];

test.each(cases)('%s [F92]', (_what, before, act, events) => {
  before();
  const seen = watchNames(mm);
  act();
  expect(seen).toEqual(events);
});

test('a page that migrates is CLEAR, without owner, for other processes [F92]', () => {
  const other = child();
  const seen = watchNames(other);
  new Migration(bench, addr, 1).run();
  expect(seen).toEqual(['CLEAR 0+1']);
});
