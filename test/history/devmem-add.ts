import assert from 'node:assert/strict';
import { errno } from '../../src/index.ts';
import { MEMORY_DEVICE_PRIVATE, memremapPages, memunmapPages } from '../../src/mm/memremap.ts';
import type { DevPagemap } from '../../src/mm/memremap.ts';
import { createSystem, releaseMemRegion, requestFreeMemRegion } from '../../src/mm/system.ts';

const PAGES = 16;

export async function example(): Promise<void> {
  const sys = createSystem({ ramBytes: 2 ** 20, devicePages: PAGES });
  assert.ok(typeof sys !== 'number');
  // hmm_devmem_add did all of this, with callbacks of its own kind. First a range of pfns...
  const startPfn = requestFreeMemRegion(sys, PAGES);
  // ...then the pagemap, with an owner and the callbacks that every device has...
  const pgmap: DevPagemap = {
    type: MEMORY_DEVICE_PRIVATE,
    startPfn,
    nrPages: PAGES,
    owner: { name: 'my device' },
    ops: { folioFree: () => {}, migrateToRam: () => 0 },
    ref: 0,
    id: 0,
  };
  assert.equal(memremapPages(sys, pgmap), 0);
  assert.ok(sys.mem.isZoneDevice(startPfn));
  // ...and nobody else can have the range.
  assert.equal(memremapPages(sys, { ...pgmap, owner: {}, ref: 0, id: 0 }), errno.ENOMEM);

  await memunmapPages(sys, pgmap);
  assert.ok(!sys.mem.isZoneDevice(startPfn));
  assert.equal(releaseMemRegion(sys, startPfn), 0);
}
