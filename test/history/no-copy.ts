import assert from 'node:assert/strict';
import { PAGE_SIZE } from '../../src/index.ts';
import { firstBytes, start } from './machine.ts';

export async function example(): Promise<void> {
  const at = await start(3);
  const { machine, device, addr } = at;
  // The choice of who copies is the engine's strategy; `cpu` is the one that the reviewer wished.
  await machine.setStrategy('cpu');
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 3 });
  const away = await machine.counters();
  assert.equal(away.vm['pgmigrate_to_device'], 3);
  assert.equal(away.engine.bytesToDevice, 3 * PAGE_SIZE);

  // Home by faults: every byte comes through the engine again, none by another way.
  assert.deepEqual(await firstBytes(at, 3), [1, 2, 3]);
  const home = await machine.counters();
  assert.equal(home.vm['device_private_fault'], 3);
  assert.equal(home.engine.bytesToHost, 3 * PAGE_SIZE);
  await machine.close();
}
