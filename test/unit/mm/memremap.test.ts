import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import {
  MAX_PAGEMAPS,
  MEMORY_DEVICE_COHERENT,
  MEMORY_DEVICE_FS_DAX,
  MEMORY_DEVICE_GENERIC,
  MEMORY_DEVICE_PCI_P2PDMA,
  MEMORY_DEVICE_PRIVATE,
  memremapPages,
  memunmapPages,
  pagePgmap,
  zoneDevicePageInit,
} from '../../../src/mm/memremap.ts';
import type { DevPagemap, DevPagemapOps } from '../../../src/mm/memremap.ts';
import type { System } from '../../../src/mm/mm-types.ts';
import { putPage } from '../../../src/mm/page-alloc.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY, PG_LOCKED } from '../../../src/mm/page.ts';
import { expectSync, makeSystem } from './fixture.ts';

const RAM = 64;
const PAGES = 16;

interface Freed {
  readonly pfns: number[];
  readonly ops: DevPagemapOps;
}

function recorder(): Freed {
  const pfns: number[] = [];
  return { pfns, ops: { folioFree: (pfn) => pfns.push(pfn), migrateToRam: () => 0 } };
}

function pagemap(over: Partial<DevPagemap> = {}): DevPagemap {
  return {
    type: MEMORY_DEVICE_PRIVATE,
    startPfn: RAM,
    nrPages: PAGES,
    owner: { name: 'owner' },
    ops: recorder().ops,
    ref: 0,
    id: 0,
    ...over,
  };
}

function machine(devicePages = 2 * PAGES): System {
  return makeSystem(RAM, devicePages);
}

/** True once `value` is settled, after all microtasks queued now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  for (let i = 0; i < 10; i++) await Promise.resolve();
  return settled;
}

describe('memremapPages refuses [F11]', () => {
  test.each([
    ['an empty range', { nrPages: 0 }],
    ['a negative length', { nrPages: -1 }],
    ['half a page', { nrPages: 1.5 }],
    ['a pfn that is none', { startPfn: -1 }],
    ['type 0, as in a struct that nobody filled in', { type: 0 }],
    ['FS_DAX memory', { type: MEMORY_DEVICE_FS_DAX }],
    ['generic memory', { type: MEMORY_DEVICE_GENERIC }],
    ['P2PDMA memory', { type: MEMORY_DEVICE_PCI_P2PDMA }],
    ['an unknown type', { type: 6 }],
    ['no owner', { owner: null }],
    ['an owner that was forgotten', { owner: undefined }],
    ['no ops', { ops: null as unknown as DevPagemapOps }],
    [
      'private memory without migrate_to_ram',
      { ops: { folioFree: () => 0 } as unknown as DevPagemapOps },
    ],
    ['ops without folio_free', { ops: { migrateToRam: () => 0 } as unknown as DevPagemapOps }],
  ])('EINVAL: %s', (_what, over) => {
    const sys = machine();
    expect(memremapPages(sys, pagemap(over))).toBe(errno.EINVAL);
    expect(sys.pagemaps).toEqual([null]);
    expect(sys.mem.pgmap.every((id) => id === 0)).toBe(true);
  });

  test.each([
    ['the same range', 0, PAGES, errno.ENOMEM],
    ['its last page', PAGES - 1, 1, errno.ENOMEM],
    ['its first page, from RAM', -1, 2, errno.ENOMEM],
    ['a range around it', 0, PAGES + 1, errno.ENOMEM],
    ['the page behind it', PAGES, 1, 0],
  ])('ENOMEM: overlap with another pagemap: %s', (_what, offset, nrPages, status) => {
    const sys = machine();
    expect(memremapPages(sys, pagemap())).toBe(0);
    expect(memremapPages(sys, pagemap({ startPfn: RAM + offset, nrPages }))).toBe(status);
  });

  test('a range that ends where another pagemap starts is fine', () => {
    const sys = machine();
    expect(memremapPages(sys, pagemap({ startPfn: RAM + PAGES }))).toBe(0);
    expect(memremapPages(sys, pagemap({ nrPages: PAGES + 1 }))).toBe(errno.ENOMEM);
    expect(memremapPages(sys, pagemap())).toBe(0);
  });

  test.each([
    ['the last page of RAM', RAM - 1, 1, errno.ENXIO],
    ['RAM and what is above', RAM - 1, 2, errno.ENXIO],
    ['the first page above', RAM, 1, 0],
  ])('ENXIO: overlap with RAM: %s', (_what, startPfn, nrPages, status) => {
    expect(memremapPages(machine(), pagemap({ startPfn, nrPages }))).toBe(status);
  });

  test('coherent memory: needs folio_free and an owner, but no migrate_to_ram [F13]', () => {
    const sys = makeSystem(RAM, PAGES, 256, PAGES);
    const type = MEMORY_DEVICE_COHERENT;
    const folioFree = () => undefined;
    const noFree = {} as unknown as DevPagemapOps;
    const ops = { folioFree };
    expect(memremapPages(sys, pagemap({ type, ops: noFree }))).toBe(errno.EINVAL);
    expect(memremapPages(sys, pagemap({ type, ops, owner: null }))).toBe(errno.EINVAL);
    expect(memremapPages(sys, pagemap({ type, ops }))).toBe(0);
  });

  test.each([
    ['coherent memory in its frames', MEMORY_DEVICE_COHERENT, RAM, PAGES, 0],
    ['its last page there', MEMORY_DEVICE_COHERENT, RAM + PAGES - 1, 1, 0],
    ['one page beyond', MEMORY_DEVICE_COHERENT, RAM + 1, PAGES, errno.ENXIO],
    ['coherent memory in RAM', MEMORY_DEVICE_COHERENT, RAM - 1, 1, errno.ENXIO],
    ['private memory above', MEMORY_DEVICE_PRIVATE, RAM + PAGES, PAGES, 0],
    ['private memory that the CPU reaches', MEMORY_DEVICE_PRIVATE, RAM + PAGES - 1, 2, errno.ENXIO],
  ])('ENXIO: frames of the wrong kind: %s [F13]', (_what, type, startPfn, nrPages, status) => {
    const sys = makeSystem(RAM, PAGES, 256, PAGES);
    expect(memremapPages(sys, pagemap({ type, startPfn, nrPages }))).toBe(status);
  });

  test('ENOMEM: a range that reaches beyond the pfn space by one page', () => {
    const startPfn = RAM + PAGES;
    expect(memremapPages(machine(), pagemap({ startPfn, nrPages: PAGES + 1 }))).toBe(errno.ENOMEM);
    expect(memremapPages(machine(), pagemap({ startPfn, nrPages: PAGES }))).toBe(0);
  });

  test('ENOMEM: one pagemap more than numbers; a number given back can be had again', () => {
    const sys = machine(MAX_PAGEMAPS + 1);
    const one = (i: number) => pagemap({ startPfn: RAM + i, nrPages: 1 });
    const pgmaps = Array.from({ length: MAX_PAGEMAPS + 1 }, (_, i) => one(i));
    const statuses = pgmaps.map((pgmap) => memremapPages(sys, pgmap));
    expect(statuses.slice(0, -1).every((status) => status === 0)).toBe(true);
    expect(statuses.at(-1)).toBe(errno.ENOMEM);
    expect(pgmaps.at(-2)?.id).toBe(255);
    const gone = pgmaps[7]!;
    const id = gone.id;
    expectSync(memunmapPages(sys, gone));
    expect(memremapPages(sys, pgmaps.at(-1)!)).toBe(0);
    expect(pgmaps.at(-1)?.id).toBe(id);
  });

  test('I27: the same pagemap twice is a bug', () => {
    const sys = machine();
    const pgmap = pagemap();
    expect(memremapPages(sys, pgmap)).toBe(0);
    expect(() => memremapPages(sys, pgmap)).toThrow('I27');
  });
});

describe('the life of a device page [F14]', () => {
  test('registered pages are free, belong to the pagemap, and no others do [F12]', () => {
    const sys = machine();
    const pgmap = pagemap();
    expect(memremapPages(sys, pgmap)).toBe(0);
    expect([pgmap.id, pgmap.ref]).toEqual([1, 1]);
    for (let pfn = RAM; pfn < RAM + PAGES; pfn++) {
      expect(sys.mem.refcount[pfn]).toBe(0);
      expect(sys.mem.isZoneDevice(pfn)).toBe(true);
      expect(pagePgmap(sys, pfn)).toBe(pgmap);
    }
    expect(sys.mem.isZoneDevice(RAM - 1)).toBe(false);
    expect(sys.mem.isZoneDevice(RAM + PAGES)).toBe(false);
  });

  test('a page knows its kind as long as it belongs to a pagemap [F13]', () => {
    const sys = makeSystem(RAM, PAGES, 256, PAGES);
    const kind = (pfn: number) => [sys.mem.isDevicePrivate(pfn), sys.mem.isDeviceCoherent(pfn)];
    const coherent = pagemap({ type: MEMORY_DEVICE_COHERENT });
    expect(memremapPages(sys, coherent)).toBe(0);
    expect(memremapPages(sys, pagemap({ startPfn: RAM + PAGES }))).toBe(0);
    expect([RAM - 1, RAM, RAM + PAGES].map(kind)).toEqual([
      [false, false],
      [false, true],
      [true, false],
    ]);
    expectSync(memunmapPages(sys, coherent));
    expect([kind(RAM), kind(RAM + PAGES)]).toEqual([
      [false, false],
      [true, false],
    ]);
  });

  test('init: one reference, locked, no mapping, and a reference on the pagemap', () => {
    const sys = machine();
    const pgmap = pagemap();
    memremapPages(sys, pgmap);
    sys.mem.mapping[RAM] = 7;
    sys.mem.index[RAM] = 9;
    sys.mem.flags[RAM] = PG_DIRTY;
    zoneDevicePageInit(sys, RAM);
    expect(sys.mem.refcount[RAM]).toBe(1);
    expect(sys.mem.flags[RAM]).toBe(PG_LOCKED);
    expect([sys.mem.mapping[RAM], sys.mem.index[RAM]]).toEqual([0, 0]);
    expect(pgmap.ref).toBe(2);
  });

  test('the last put clears it and gives it to its driver, one before does not [F15]', () => {
    const sys = machine();
    const { pfns, ops } = recorder();
    const pgmap = pagemap({ ops });
    memremapPages(sys, pgmap);
    zoneDevicePageInit(sys, RAM + 3);
    sys.mem.getPage(RAM + 3);
    sys.mem.setFlag(RAM + 3, PG_DIRTY | PG_ANON_EXCLUSIVE);
    sys.mem.mapping[RAM + 3] = 7;
    sys.mem.unlockPage(RAM + 3);
    putPage(sys, RAM + 3);
    expect([pfns, pgmap.ref]).toEqual([[], 2]);
    putPage(sys, RAM + 3);
    expect([pfns, pgmap.ref]).toEqual([[RAM + 3], 1]);
    expect([sys.mem.flags[RAM + 3], sys.mem.mapping[RAM + 3]]).toEqual([0, 0]);
  });

  test("the driver's link in a free page survives init and free", () => {
    const sys = machine();
    memremapPages(sys, pagemap());
    sys.mem.zoneDeviceData[RAM] = 42;
    zoneDevicePageInit(sys, RAM);
    sys.mem.unlockPage(RAM);
    putPage(sys, RAM);
    expect(sys.mem.zoneDeviceData[RAM]).toBe(42);
  });

  test('I28: a page in use is not made live again', () => {
    const sys = machine();
    memremapPages(sys, pagemap());
    zoneDevicePageInit(sys, RAM);
    expect(() => zoneDevicePageInit(sys, RAM)).toThrow('I28');
  });

  test('I8 and I7: a page that is freed is neither locked nor mapped', () => {
    const sys = machine();
    memremapPages(sys, pagemap());
    zoneDevicePageInit(sys, RAM);
    expect(() => putPage(sys, RAM)).toThrow('I8');
    zoneDevicePageInit(sys, RAM + 1);
    sys.mem.unlockPage(RAM + 1);
    sys.mem.mapcount[RAM + 1] = 1;
    expect(() => putPage(sys, RAM + 1)).toThrow('I7');
  });

  test('I17: a page of no pagemap has no life', () => {
    const sys = machine();
    expect(() => zoneDevicePageInit(sys, RAM)).toThrow('I17');
  });
});

describe('memunmapPages [F17]', () => {
  test('is done at once when every page is free, and the range can be registered anew', () => {
    const sys = machine();
    const pgmap = pagemap();
    memremapPages(sys, pgmap);
    sys.mem.zoneDeviceData[RAM] = 42;
    expect(memunmapPages(sys, pgmap)).toBeUndefined();
    expect([pgmap.id, sys.pagemaps[1]]).toEqual([0, null]);
    expect(sys.mem.pgmap[RAM]).toBe(0);
    expect(sys.mem.zoneDeviceData[RAM]).toBe(0);
    expect(memremapPages(sys, pgmap)).toBe(0);
  });

  test('waits until the last live page is free', async () => {
    const sys = machine();
    const pgmap = pagemap();
    memremapPages(sys, pgmap);
    for (const pfn of [RAM, RAM + 1]) {
      zoneDevicePageInit(sys, pfn);
      sys.mem.unlockPage(pfn);
    }
    const done = Promise.resolve(memunmapPages(sys, pgmap));
    putPage(sys, RAM);
    expect(await isSettled(done)).toBe(false);
    expect(sys.pagemaps[1]).toBe(pgmap);
    putPage(sys, RAM + 1);
    await done;
    expect([pgmap.id, sys.pagemaps[1], sys.mem.pgmap[RAM]]).toEqual([0, null, 0]);
    expect(memremapPages(sys, pgmap)).toBe(0);
  });

  test('I27: meanwhile no page is made live, and it is not unregistered twice', async () => {
    const sys = machine();
    const pgmap = pagemap();
    memremapPages(sys, pgmap);
    zoneDevicePageInit(sys, RAM);
    sys.mem.unlockPage(RAM);
    const done = Promise.resolve(memunmapPages(sys, pgmap));
    expect(() => zoneDevicePageInit(sys, RAM + 1)).toThrow('I27');
    expect(() => memunmapPages(sys, pgmap)).toThrow('I27');
    putPage(sys, RAM);
    expect(() => zoneDevicePageInit(sys, RAM + 1)).toThrow('I27');
    await done;
    expect(() => memunmapPages(sys, pgmap)).toThrow('I27');
  });

  test('one device going leaves the other alone', () => {
    const sys = machine();
    const other = pagemap({ startPfn: RAM + PAGES });
    const pgmap = pagemap();
    memremapPages(sys, pgmap);
    memremapPages(sys, other);
    expect([pgmap.id, other.id]).toEqual([1, 2]);
    expectSync(memunmapPages(sys, pgmap));
    expect(pagePgmap(sys, RAM + PAGES)).toBe(other);
    expect(sys.mem.pgmap[RAM + PAGES - 1]).toBe(0);
  });
});
