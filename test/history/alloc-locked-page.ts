import assert from 'node:assert/strict';
import { CommandList, PAGE_RAM } from '../../src/index.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import {
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  migratePfn,
  migratePfnToPage,
} from '../../src/mm/migrate-types.ts';
import { allocPage } from '../../src/mm/page-alloc.ts';
import { firstBytes, migrateArgs, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(1);
  await at.device.ioctl('MIGRATE_TO_DEV', { addr: at.addr, ptr: 0, npages: 1 });
  const args = { ...migrateArgs(at, 1), flags: MIGRATE_VMA_SELECT_DEVICE_PRIVATE };
  await at.mm.mmapLock.readLock();
  assert.equal(migrateVmaSetup(args), 0);

  // hmm_vma_alloc_locked_page was these two steps.
  const page = allocPage(at.sys);
  assert.ok(at.sys.mem.trylockPage(page));

  const list = new CommandList(1);
  list.copy(migratePfnToPage(args.src[0] ?? 0), page);
  assert.equal(await at.machine.kernel.engine.submit(list), 0);
  args.dst[0] = migratePfn(page);
  migrateVmaPages(args);
  migrateVmaFinalize(args);
  at.mm.mmapLock.readUnlock();

  assert.deepEqual([...(await at.process.pageMap(at.addr, 1))], [PAGE_RAM]);
  assert.deepEqual(await firstBytes(at, 1), [1]);
  await at.machine.close();
}
