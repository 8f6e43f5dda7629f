import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../src/index.ts';
import { migrateDeviceFinalize, migrateDevicePfns } from '../../src/mm/migrate-device.ts';
import {
  MMU_NOTIFY_CLEAR,
  mmuIntervalNotifierInsert,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../src/mm/mmu-notifier.ts';
import { pageAt, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(2);
  const { machine, device, addr, sys, mm } = at;
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2 });
  const events: { event: number; page: number }[] = [];
  mmuIntervalNotifierInsert(newMmuIntervalNotifier(null), mm, addr, 2 * PAGE_SIZE, {
    invalidate: (sub, { event, start: at }, seq) => {
      mmuIntervalSetSeq(sub, seq);
      events.push({ event, page: (at - addr) / PAGE_SIZE });
      return true;
    },
  });

  // No address space, no range, no lock: only pfns. Who maps them hears of it, entry by entry.
  const src = Uint32Array.of(pageAt(at, addr), pageAt(at, addr + PAGE_SIZE));
  assert.ok(!mm.mmapLock.isLocked);
  migrateDevicePfns(sys, src, 2);
  assert.deepEqual(events, [
    { event: MMU_NOTIFY_CLEAR, page: 0 },
    { event: MMU_NOTIFY_CLEAR, page: 1 },
  ]);
  migrateDeviceFinalize(sys, src, new Uint32Array(2), 2);
  await machine.close();
}
