import assert from 'node:assert/strict';
import { CommandList, PAGE_DEVICE } from '../../src/index.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import { MIGRATE_PFN_MIGRATE, migratePfn, migratePfnToPage } from '../../src/mm/migrate-types.ts';
import { migrateArgs, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(4);
  const args = migrateArgs(at, 4);
  await at.mm.mmapLock.readLock();
  assert.equal(migrateVmaSetup(args), 0);

  // Here alloc_and_copy was called: the driver takes pages and copies, and may wait for it.
  const list = new CommandList(args.npages);
  for (let i = 0; i < args.npages; i++) {
    const source = args.src[i] ?? 0;
    if ((source & MIGRATE_PFN_MIGRATE) === 0) continue;
    const target = at.memory.allocPage();
    list.copy(migratePfnToPage(source), target);
    args.dst[i] = migratePfn(target);
  }
  assert.equal(await at.machine.kernel.engine.submit(list), 0);

  migrateVmaPages(args);
  // Here finalize_and_map was called: what still has MIGRATE has moved, and nobody can reach it.
  const moved = args.src.filter((entry) => (entry & MIGRATE_PFN_MIGRATE) !== 0).length;
  migrateVmaFinalize(args);
  at.mm.mmapLock.readUnlock();

  assert.equal(moved, 4);
  assert.deepEqual([...(await at.process.pageMap(at.addr, 4))], Array(4).fill(PAGE_DEVICE));
  await at.machine.close();
}
