import assert from 'node:assert/strict';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import { migratePfn, migratePfnToPage } from '../../src/mm/migrate-types.ts';
import { firstBytes, migrateArgs, start } from './machine.ts';

const OLD_MIGRATE_PFN_LOCKED = 1 << 2;

export async function example(): Promise<void> {
  const at = await start(1);
  const args = migrateArgs(at, 1);
  await at.mm.mmapLock.readLock();
  migrateVmaSetup(args);
  const source = args.src[0] ?? 0;
  assert.equal(source & OLD_MIGRATE_PFN_LOCKED, 0);
  assert.ok(at.sys.mem.isLocked(migratePfnToPage(source)));

  // A device page comes locked. One that is not is a bug that is caught, whatever its entry says.
  const target = at.memory.allocPage();
  at.sys.mem.unlockPage(target);
  args.dst[0] = migratePfn(target) | OLD_MIGRATE_PFN_LOCKED;
  assert.throws(() => migrateVmaPages(args), /I30/);
  at.sys.mem.trylockPage(target);
  args.dst[0] = 0;
  at.sys.mem.unlockPage(target);

  migrateVmaFinalize(args);
  at.mm.mmapLock.readUnlock();
  assert.deepEqual(await firstBytes(at, 1), [1]);
  await at.machine.close();
}
