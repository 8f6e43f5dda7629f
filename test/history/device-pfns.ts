import assert from 'node:assert/strict';
import { CommandList, PAGE_DEVICE, PAGE_RAM, PAGE_SIZE } from '../../src/index.ts';
import {
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDevicePfns,
} from '../../src/mm/migrate-device.ts';
import { migratePfn, migratePfnToPage } from '../../src/mm/migrate-types.ts';
import { allocPage } from '../../src/mm/page-alloc.ts';
import { firstBytes, pageAt, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(4);
  const { machine, process, device, addr, sys, memory } = at;
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 4 });
  // Any pfns in any order: two pages of the process, and one that nobody has.
  const free = memory.startPfn + memory.pagesInUse;
  const src = Uint32Array.of(pageAt(at, addr + 3 * PAGE_SIZE), free, pageAt(at, addr));
  const dst = new Uint32Array(3);
  assert.equal(migrateDevicePfns(sys, src, 3), 0);
  assert.equal(src[1], 0);

  const list = new CommandList(2);
  for (const i of [0, 2]) {
    const target = allocPage(sys);
    assert.ok(sys.mem.trylockPage(target));
    list.copy(migratePfnToPage(src[i] ?? 0), target);
    dst[i] = migratePfn(target);
  }
  assert.equal(await machine.kernel.engine.submit(list), 0);
  migrateDevicePages(sys, src, dst, 3);
  migrateDeviceFinalize(sys, src, dst, 3);

  const places = [PAGE_RAM, PAGE_DEVICE, PAGE_DEVICE, PAGE_RAM];
  assert.deepEqual([...(await process.pageMap(addr, 4))], places);
  assert.deepEqual(await firstBytes(at, 4), [1, 2, 3, 4]);
  await machine.close();
}
