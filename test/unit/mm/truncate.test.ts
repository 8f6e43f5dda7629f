/* Truncation and hole punching (src/mm/truncate.ts), also of what lives on a device. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { MAP_PRIVATE, MAP_SHARED } from '../../../src/mm/mm-types.ts';
import { MMU_NOTIFY_CLEAR } from '../../../src/mm/mmu-notifier.ts';
import { shmemPut } from '../../../src/mm/shmem.ts';
import type { ShmemInode } from '../../../src/mm/shmem.ts';
import { isDevicePrivateEntry } from '../../../src/mm/swapops.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  shmemFallocate,
  shmemTruncate,
} from '../../../src/mm/truncate.ts';
import { FAULT_OK, FAULT_SIGBUS, copyFromUser } from '../../../src/mm/uaccess.ts';
import { PG_DIRTY } from '../../../src/mm/page.ts';
import {
  expectSync,
  load,
  loadOutcome,
  makeMm,
  pteAt,
  store,
  storeOutcome,
  watch,
} from './fixture.ts';
import { makeFilledFile, mapFile, readFile } from './file-rig.ts';
import { Migration, checkAtRest, makeBench } from './migration.ts';
import type { Bench } from './migration.ts';

const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const PAGES = 4;

let bench: Bench;
let inode: ShmemInode;

beforeEach(async () => {
  bench = makeBench();
  inode = await makeFilledFile(bench.sys, PAGES);
});

afterEach(() => {
  checkAtRest(bench, { inodeHandles: new Map([[inode, 1]]) });
  shmemPut(inode);
  for (const mm of bench.sys.mms) expectSync(mmput(mm));
  checkAtRest(bench);
  expect(bench.device.used).toBe(0);
});

/** First byte of each page of the file. */
function firstBytes(): number[] {
  return Array.from({ length: PAGES }, (_, i) => readFile(inode, i * PAGE_SIZE, 1)[0] ?? -1);
}

describe('shrinking', () => {
  test('drops the pages beyond the end and clears the rest of the last one', async () => {
    const free = bench.sys.pageAllocator.freePages;
    expect(await shmemTruncate(inode, PAGE_SIZE + 2)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([PAGE_SIZE + 2, 2]);
    expect(bench.sys.pageAllocator.freePages).toBe(free + 2);
    expect(await shmemTruncate(inode, PAGES * PAGE_SIZE)).toBe(0);
    expect(readFile(inode, PAGE_SIZE, 4)).toEqual([2, 2, 0, 0]);
    expect(firstBytes()).toEqual([1, 2, 0, 0]);
  });

  test('makes accesses beyond the end SIGBUS in every process, others stay', async () => {
    const other = makeMm(bench.sys);
    const views = [bench.mm, other].map((mm) => ({ mm, base: mapFile(mm, inode, PAGES) }));
    for (const { mm, base } of views) for (const i of [0, 1, 2]) load(mm, base + i * PAGE_SIZE);
    const seen = watch(other, views[1]!.base);
    expect(await shmemTruncate(inode, PAGE_SIZE)).toBe(0);
    expect(seen.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 1, PAGES - 1],
    ]);
    for (const { mm, base } of views) {
      expect([0, 1, 3].map((i) => loadOutcome(mm, base + i * PAGE_SIZE))).toEqual([
        FAULT_OK,
        FAULT_SIGBUS,
        FAULT_SIGBUS,
      ]);
      expect(mm.shmemRss).toBe(1);
      expect(storeOutcome(mm, base + PAGE_SIZE)).toBe(FAULT_SIGBUS);
    }
  });

  test('a partial last page stays mapped, and its stores survive up to the end', async () => {
    const { mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    store(mm, base + PAGE_SIZE, 70, 71, 72);
    const before = pteAt(mm, base + PAGE_SIZE);
    expect(await shmemTruncate(inode, PAGE_SIZE + 2)).toBe(0);
    expect(pteAt(mm, base + PAGE_SIZE)).toBe(before);
    expect([0, 1, 2].map((i) => load(mm, base + PAGE_SIZE + i))).toEqual([70, 71, 0]);
  });

  test('takes private copies beyond the end, in RAM and on the device [F41]', async () => {
    const { mm, device } = bench;
    const base = mapFile(mm, inode, PAGES, MAP_PRIVATE);
    for (const i of [0, 1, 2, 3]) store(mm, base + i * PAGE_SIZE, 90 + i);
    expect(expectSync(device.migrateIn(mm, base, 3))).toBe(3);
    expect(await shmemTruncate(inode, PAGE_SIZE)).toBe(0);
    expect([device.used, mm.anonRss]).toEqual([1, 1]);
    expect(isDevicePrivateEntry(pteAt(mm, base))).toBe(true);
    const outcomes = [1, 2, 3].map((i) => loadOutcome(mm, base + i * PAGE_SIZE));
    expect(outcomes).toEqual([FAULT_SIGBUS, FAULT_SIGBUS, FAULT_SIGBUS]);
    expect(await shmemTruncate(inode, 2 * PAGE_SIZE)).toBe(0);
    expect([load(mm, base), load(mm, base + PAGE_SIZE)]).toEqual([90, 0]);
  });

  test('waits for a page under migration, and leaves nothing of it', async () => {
    const { mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    load(mm, base + PAGE_SIZE);
    const migration = new Migration(bench, base + PAGE_SIZE, 1).setup().supply();
    const truncating = shmemTruncate(inode, 0);
    await Promise.resolve();
    expect(inode.cache.get(1)).not.toBe(0);
    migration.pages().finalize();
    expect(await truncating).toBe(0);
    expect([inode.nrPages, pteAt(mm, base + PAGE_SIZE), mm.shmemRss]).toEqual([0, 0, 0]);
  });

  test('a fault that waits for a page which goes meanwhile is SIGBUS', async () => {
    const { sys, mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    const pfn = inode.cache.get(2);
    expect(sys.mem.trylockPage(pfn)).toBe(true);
    const faulting = loadLater(base + 2 * PAGE_SIZE);
    const truncating = shmemTruncate(inode, PAGE_SIZE);
    sys.mem.unlockPage(pfn);
    expect(await faulting).toBe(FAULT_SIGBUS);
    // At once: the page was never mapped.
    expect(sys.vmstat.read('pgfault')).toBe(1);
    expect(await truncating).toBe(0);
    expect(inode.nrPages).toBe(1);
  });

  test('a pinned page goes out of the object and lives on with its pin', async () => {
    const { sys, mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    const pfn = expectSync(pinUserPage(mm, base));
    expect(await shmemTruncate(inode, 0)).toBe(0);
    expect([sys.mem.mapping[pfn], sys.mem.mapcount[pfn]]).toEqual([0, 0]);
    unpinUserPage(sys, pfn);
  });
});

/** The outcome of a load that may wait. */
async function loadLater(addr: number): Promise<number> {
  const fault = { outcome: FAULT_OK, address: 0 };
  await copyFromUser(bench.mm, addr, new Uint8Array(1), fault);
  return fault.outcome;
}

describe('growing', () => {
  test('makes a hole, keeps the pages, and clears what a mapping left behind the end', async () => {
    await shmemTruncate(inode, 2 * PAGE_SIZE + 1);
    const base = mapFile(bench.mm, inode, PAGES);
    store(bench.mm, base + 2 * PAGE_SIZE + 5, 66);
    expect(await shmemTruncate(inode, 2 ** 50)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([2 ** 50, 3]);
    expect(readFile(inode, 2 * PAGE_SIZE, 7)).toEqual([3, 0, 0, 0, 0, 0, 0]);
    expect(loadOutcome(bench.mm, base + 3 * PAGE_SIZE)).toBe(FAULT_OK);
  });

  test('to the same size changes nothing', async () => {
    const base = mapFile(bench.mm, inode, PAGES);
    load(bench.mm, base);
    const before = pteAt(bench.mm, base);
    expect(await shmemTruncate(inode, inode.size)).toBe(0);
    expect([pteAt(bench.mm, base), inode.nrPages]).toEqual([before, PAGES]);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 60])('to %d bytes is EINVAL', async (length) => {
    expect(await shmemTruncate(inode, length)).toBe(errno.EINVAL);
    expect([inode.size, inode.nrPages]).toEqual([PAGES * PAGE_SIZE, PAGES]);
  });
});

describe('punching a hole', () => {
  test('drops whole pages, clears parts of others, keeps the size', async () => {
    const length = 2 * PAGE_SIZE;
    expect(await shmemFallocate(inode, PUNCH, PAGE_SIZE - 1, length)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([PAGES * PAGE_SIZE, PAGES - 1]);
    expect(readFile(inode, PAGE_SIZE - 2, 3)).toEqual([1, 0, 0]);
    expect(readFile(inode, 3 * PAGE_SIZE - 2, 3)).toEqual([0, 3, 4]);
    expect(firstBytes()).toEqual([1, 0, 0, 4]);
  });

  test('inside one page clears just that, and the page is dirty', async () => {
    const pfn = inode.cache.get(1);
    bench.sys.mem.clearFlag(pfn, PG_DIRTY);
    expect(await shmemFallocate(inode, PUNCH, PAGE_SIZE + 1, 2)).toBe(0);
    expect(readFile(inode, PAGE_SIZE, 4)).toEqual([2, 0, 0, 2]);
    expect([inode.nrPages, bench.sys.mem.testFlag(pfn, PG_DIRTY)]).toEqual([PAGES, true]);
  });

  test('unmaps the pages of the object; the next load finds zeroes', async () => {
    const { mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    for (const i of [0, 1, 2]) load(mm, base + i * PAGE_SIZE);
    const seen = watch(mm, base);
    expect(await shmemFallocate(inode, PUNCH, PAGE_SIZE, PAGE_SIZE)).toBe(0);
    expect(seen.map(({ event, from, pages }) => [event, from, pages])).toEqual([
      [MMU_NOTIFY_CLEAR, 1, 1],
    ]);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([1, 0, 3]);
  });

  test('leaves private copies, in RAM and on the device', async () => {
    const { mm, device } = bench;
    const base = mapFile(mm, inode, PAGES, MAP_PRIVATE);
    for (const i of [0, 1]) store(mm, base + i * PAGE_SIZE, 90 + i);
    load(mm, base + 2 * PAGE_SIZE);
    expect(expectSync(device.migrateIn(mm, base, 1))).toBe(1);
    expect(await shmemFallocate(inode, PUNCH, 0, PAGES * PAGE_SIZE)).toBe(0);
    expect([inode.nrPages, device.used, mm.anonRss, mm.shmemRss]).toEqual([0, 1, 2, 0]);
    expect([0, 1, 2].map((i) => load(mm, base + i * PAGE_SIZE))).toEqual([90, 91, 0]);
  });

  test('takes a page away again that was faulted in while another was waited for', async () => {
    const { sys, mm } = bench;
    const base = mapFile(mm, inode, PAGES);
    const locked = inode.cache.get(0);
    expect(sys.mem.trylockPage(locked)).toBe(true);
    const punching = shmemFallocate(inode, PUNCH, 0, 2 * PAGE_SIZE);
    await Promise.resolve();
    expect(load(mm, base + PAGE_SIZE)).toBe(2);
    sys.mem.unlockPage(locked);
    expect(await punching).toBe(0);
    expect([inode.nrPages, pteAt(mm, base + PAGE_SIZE)]).toEqual([PAGES - 2, 0]);
    expect(load(mm, base + PAGE_SIZE)).toBe(0);
  });
});

describe('fallocate', () => {
  test('makes the pages that are missing and grows the object', async () => {
    await shmemTruncate(inode, PAGE_SIZE);
    expect(await shmemFallocate(inode, 0, 0, 2 * PAGE_SIZE + 1)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([2 * PAGE_SIZE + 1, 3]);
    expect(firstBytes()).toEqual([1, 0, 0, -1]);
  });

  test('keeps the size where asked to; pages beyond the end go with the file', async () => {
    await shmemTruncate(inode, 0);
    expect(await shmemFallocate(inode, FALLOC_FL_KEEP_SIZE, PAGE_SIZE, PAGE_SIZE)).toBe(0);
    expect([inode.size, inode.nrPages]).toEqual([0, 1]);
    const base = mapFile(bench.mm, inode, PAGES, MAP_SHARED);
    expect(loadOutcome(bench.mm, base + PAGE_SIZE)).toBe(FAULT_SIGBUS);
  });

  test.each([1, 3])('ENOMEM at page %d leaves nothing made', async (failAt) => {
    await shmemTruncate(inode, PAGE_SIZE);
    bench.sys.pageAllocator.failAt = failAt;
    expect(await shmemFallocate(inode, 0, 0, PAGES * PAGE_SIZE)).toBe(errno.ENOMEM);
    expect([inode.size, inode.nrPages]).toEqual([PAGE_SIZE, 1]);
    expect(await shmemFallocate(inode, 0, 0, 2 ** 50)).toBe(errno.ENOMEM);
  });

  test.each([
    ['an unknown mode', 8, 0, PAGE_SIZE, errno.EOPNOTSUPP],
    ['punching without KEEP_SIZE', FALLOC_FL_PUNCH_HOLE, 0, PAGE_SIZE, errno.EOPNOTSUPP],
    ['no length', 0, 0, 0, errno.EINVAL],
    ['a negative offset', PUNCH, -PAGE_SIZE, PAGE_SIZE, errno.EINVAL],
    ['NaN', PUNCH, 0, Number.NaN, errno.EINVAL],
    ['an end that is no offset', PUNCH, Number.MAX_SAFE_INTEGER, 1, errno.EFBIG],
  ])('%s is refused', async (_name, mode, offset, length, status) => {
    expect(await shmemFallocate(inode, mode, offset, length)).toBe(status);
    expect([inode.size, inode.nrPages]).toEqual([PAGES * PAGE_SIZE, PAGES]);
    expect(firstBytes()).toEqual([1, 2, 3, 4]);
  });
});
