/**
 * Suspend and resume of a device (what uvm_suspend and uvm_resume, and the evict-all of xe's power
 * management, are for): everything on it goes to RAM and nothing enters it, until it is resumed;
 * then what was there comes back.
 *
 * Promises. Nothing is lost: a suspended device has not a page in use (I42). Kernels whose faults
 * come meanwhile wait for the resume and go on with it; so do commands. CPUs never wait for more
 * than the copy of their page. A device that could not be emptied is awake again, with its pages.
 *
 * Locking: the device's fault lock is held from suspend to resume, so that no pager is between a
 * grant and its pass. Commands that had begun are not waited for: what they had not moved stays in
 * RAM, as on a device that is full. Source: our own; the order is that of the drivers.
 *
 * Leaves out: kernels that want no page: their passes go on. Pages of the device that no open file
 * has in its page table come home, and back when something asks for them. Contents of the aperture:
 * it has none between two passes.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { dptPfn } from './device-page-table.ts';
import { Dmirror } from './dmirror.ts';
import type { DmirrorDevice } from './dmirror-device.ts';
import { toDevice } from './dmirror-migrate.ts';
import { migratePages } from './migrate-pages.ts';

/** Pages that an open file had on a device. */
interface Left {
  readonly mirror: Dmirror;
  readonly page: number;
  count: number;
}

/** What suspended devices had, for their way back. */
const leftBy = new WeakMap<DmirrorDevice, readonly Left[]>();

/**
 * Sends everything on a device home and keeps it empty.
 *
 * @returns 0; EBUSY when it is suspended, or on the way there or back, and for coherent pages that
 * are pinned; ENOMEM when RAM is full, ENODEV or EIO when contents could not be read: then the
 * device is awake and has its pages. Context: takes the device's fault lock and keeps it; waits.
 */
export async function suspendDevice(device: DmirrorDevice): Promise<number> {
  const { sleep, memory } = device;
  if (sleep.state !== 'awake' || sleep.isOver) return errno.EBUSY;
  sleep.change('going');
  await device.faultLock.lock();
  leftBy.set(device, pagesOn(device));
  memory.isClosed = true;
  const status = await device.releaseChunks();
  if (isErr(status)) {
    await wake(device);
    return status;
  }
  sleep.change('asleep');
  return 0;
}

/**
 * Wakes a suspended device: what its files had on it comes back as far as it can, then whoever
 * waits goes on.
 *
 * @returns 0; EINVAL when it is not suspended; ENODEV or EIO of the copy engine: it is awake, and
 * pages stay in RAM. Context: takes the mmap lock of processes for read; waits.
 */
export async function resumeDevice(device: DmirrorDevice): Promise<number> {
  if (device.sleep.state !== 'asleep') return errno.EINVAL;
  assert(device.memory.pagesInUse === 0, 'I42: a suspended device has no page in use');
  return wake(device);
}

/**
 * For the end of a machine: a device that sleeps is awake and stays so, without its pages.
 *
 * Context: waits for a suspend or resume in progress.
 */
export async function wakeForGood(device: DmirrorDevice): Promise<void> {
  const { sleep } = device;
  sleep.isOver = true;
  await sleep.whenSettled();
  leftBy.delete(device);
  if (sleep.state === 'asleep') await wake(device);
}

async function wake(device: DmirrorDevice): Promise<number> {
  device.sleep.change('waking');
  device.memory.isClosed = false;
  let failure = 0;
  for (const { mirror, page, count } of leftBy.get(device) ?? []) {
    if (!device.mirrors.has(mirror)) continue;
    // What was unmapped meanwhile is missed by nobody; what finds no room comes when it faults.
    const pages = Int32Array.from({ length: count }, (_, i) => i);
    const status = await migratePages(mirror, pages, count, page, toDevice);
    if (status === errno.ENODEV || status === errno.EIO) failure ||= status;
  }
  leftBy.delete(device);
  device.faultLock.unlock();
  device.sleep.change('awake');
  return failure;
}

/** What open files have on the device, in runs. */
function pagesOn(device: DmirrorDevice): Left[] {
  const left: Left[] = [];
  for (const mirror of device.mirrors) {
    if (!(mirror instanceof Dmirror)) continue;
    let last: Left | null = null;
    mirror.pageTable.forEach((page, entry) => {
      if (!device.memory.has(dptPfn(entry))) return;
      if (last !== null && last.page + last.count === page) last.count++;
      else left.push((last = { mirror, page, count: 1 }));
    });
  }
  return left;
}
