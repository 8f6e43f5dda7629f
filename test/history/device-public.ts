import assert from 'node:assert/strict';
import { MAP_ANONYMOUS, MAP_PRIVATE, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import { mmAlloc } from '../../src/mm/fork.ts';
import {
  MEMORY_DEVICE_COHERENT,
  memremapPages,
  zoneDevicePageInit,
} from '../../src/mm/memremap.ts';
import {
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from '../../src/mm/migrate-device.ts';
import { migratePfn } from '../../src/mm/migrate-types.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import { createSystem, requestMemRegion } from '../../src/mm/system.ts';
import { copyFromUser, copyToUser } from '../../src/mm/uaccess.ts';
import { migrateArgs, pageAt } from './machine.ts';

export async function example(): Promise<void> {
  // A machine whose device has four pages in the memory that the CPU reaches.
  const sys = createSystem({ ramBytes: 2 ** 20, devicePages: 0, coherentPages: 4 });
  assert.ok(typeof sys !== 'number');
  const [startPfn, owner] = [sys.ramPages, { name: 'coherent device' }];
  assert.equal(requestMemRegion(sys, startPfn, 4), 0);
  const ops = { folioFree: () => {}, migrateToRam: () => 0 };
  const pgmap = { type: MEMORY_DEVICE_COHERENT, startPfn, nrPages: 4, owner, ops, ref: 0, id: 0 };
  assert.equal(memremapPages(sys, pgmap), 0);

  // A process with one page that nobody has touched goes there.
  const mm = mmAlloc(sys);
  assert.ok(typeof mm !== 'number');
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const addr = await doMmap(mm, { length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE, flags });
  const args = migrateArgs({ mm, addr, memory: { owner } }, 1);
  await mm.mmapLock.readLock();
  assert.equal(migrateVmaSetup(args), 0);
  zoneDevicePageInit(sys, startPfn);
  sys.ram.fill(0, startPfn * PAGE_SIZE, (startPfn + 1) * PAGE_SIZE);
  args.dst[0] = migratePfn(startPfn);
  migrateVmaPages(args);
  migrateVmaFinalize(args);
  mm.mmapLock.readUnlock();
  assert.equal(pageAt({ sys, mm }, addr), startPfn);

  // The CPU stores and loads in place: no fault, no way home.
  const faults = sys.vmstat.read('pgfault');
  assert.equal(await copyToUser(mm, addr, Uint8Array.of(42)), 0);
  const byte = new Uint8Array(1);
  assert.equal(await copyFromUser(mm, addr, byte), 0);
  assert.deepEqual([byte[0], sys.ram[startPfn * PAGE_SIZE]], [42, 42]);
  assert.equal(sys.vmstat.read('pgfault'), faults);
}
