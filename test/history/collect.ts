import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../src/index.ts';
import { migrateVmaFinalize, migrateVmaSetup } from '../../src/mm/migrate-device.ts';
import { migratePfnToPage } from '../../src/mm/migrate-types.ts';
import { skipReasonName } from '../../src/mm/skip-reason.ts';
import { migrateArgs, pageAt, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(3);
  // Page 0 is on the device already: what HMM_PFN_UNADDRESSABLE said, its pagemap says.
  await at.device.ioctl('MIGRATE_TO_DEV', { addr: at.addr, ptr: 0, npages: 1 });
  assert.ok(at.sys.mem.isZoneDevice(pageAt(at, at.addr)));
  // Somebody works on page 1.
  const busy = pageAt(at, at.addr + PAGE_SIZE);
  assert.ok(at.sys.mem.trylockPage(busy));

  const args = migrateArgs(at, 3);
  await at.mm.mmapLock.readLock();
  migrateVmaSetup(args);
  const reasons = Array.from(args.reasons ?? [], skipReasonName);
  assert.deepEqual(reasons, ['not selected', 'locked', 'none']);
  // What HMM_PFN_LOCKED said, the page says: collected means locked.
  assert.ok(at.sys.mem.isLocked(migratePfnToPage(args.src[2] ?? 0)));
  migrateVmaFinalize(args);
  at.mm.mmapLock.readUnlock();

  at.sys.mem.unlockPage(busy);
  await at.machine.close();
}
