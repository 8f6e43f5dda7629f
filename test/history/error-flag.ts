import assert from 'node:assert/strict';
import { PAGE_DEVICE, SignalError } from '../../src/index.ts';
import { start } from './machine.ts';

export async function example(): Promise<void> {
  const { machine, process, device, addr } = await start(2);
  await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 2 });
  await machine.loseDevice();

  // The driver's migrate_to_ram can't bring the bytes back, and says VM_FAULT_SIGBUS.
  const isSigbus = (error: unknown): boolean =>
    error instanceof SignalError && error.signal === 'SIGBUS' && error.address === addr;
  await assert.rejects(process.read(addr, 1), isSigbus);
  // The entry stays what it was: the next access is answered in the same way.
  assert.deepEqual([...(await process.pageMap(addr, 2))], [PAGE_DEVICE, PAGE_DEVICE]);
  await assert.rejects(process.read(addr, 1), isSigbus);
  await machine.close();
}
