import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../src/index.ts';
import { migrateDeviceFinalize, migrateDevicePfns } from '../../src/mm/migrate-device.ts';
import { migrateDeviceUnmap } from '../../src/mm/migrate-device-unmap.ts';
import { MIGRATE_PFN_MIGRATE, NO_FAULT_PAGE, migratePfn } from '../../src/mm/migrate-types.ts';
import { firstBytes, pageAt, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(2);
  const { machine, device, addr, sys } = at;
  const { mem } = sys;
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2 });
  const pfns = [pageAt(at, addr), pageAt(at, addr + PAGE_SIZE)];

  // As proposed: the driver locks each pfn, then has all of them unmapped.
  const byHand = Uint32Array.from(pfns, (pfn) => {
    assert.ok(mem.getPageUnlessZero(pfn) && mem.trylockPage(pfn));
    return migratePfn(pfn) | MIGRATE_PFN_MIGRATE;
  });
  assert.equal(migrateDeviceUnmap(sys, byHand, 2, NO_FAULT_PAGE, null), 2);
  assert.deepEqual([mem.mapcount[pfns[0] ?? 0], mem.mapcount[pfns[1] ?? 0]], [0, 0]);
  migrateDeviceFinalize(sys, byHand, new Uint32Array(2), 2);

  // As adopted: one call, with the same result.
  const atOnce = Uint32Array.from(pfns);
  migrateDevicePfns(sys, atOnce, 2);
  assert.deepEqual(atOnce, byHand);
  migrateDeviceFinalize(sys, atOnce, new Uint32Array(2), 2);
  assert.deepEqual(await firstBytes(at, 2), [1, 2]);
  await machine.close();
}
