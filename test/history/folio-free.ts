import assert from 'node:assert/strict';
import { MEMORY_DEVICE_PRIVATE, memremapPages, zoneDevicePageInit } from '../../src/mm/memremap.ts';
import { putPage } from '../../src/mm/page-alloc.ts';
import { createSystem, requestFreeMemRegion } from '../../src/mm/system.ts';

export function example(): void {
  const sys = createSystem({ ramBytes: 2 ** 20, devicePages: 4 });
  assert.ok(typeof sys !== 'number');
  const startPfn = requestFreeMemRegion(sys, 4);
  const freed: { pfn: number; order: number }[] = [];
  // page_free(page) became folio_free(folio): one call a folio, whatever its size.
  const ops = {
    folioFree: (pfn: number, order: number) => void freed.push({ pfn, order }),
    migrateToRam: () => 0,
  };
  const pgmap = { type: MEMORY_DEVICE_PRIVATE, startPfn, nrPages: 4, owner: {}, ops };
  assert.equal(memremapPages(sys, { ...pgmap, ref: 0, id: 0 }), 0);

  zoneDevicePageInit(sys, startPfn + 2);
  sys.mem.getPage(startPfn + 2);
  sys.mem.unlockPage(startPfn + 2);
  putPage(sys, startPfn + 2);
  assert.deepEqual(freed, []);
  putPage(sys, startPfn + 2);
  assert.deepEqual(freed, [{ pfn: startPfn + 2, order: 0 }]);
}
