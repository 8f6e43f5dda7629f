/**
 * MIGRATE_TO_DEV and MIGRATE_TO_SYS of the test device (dmirror_migrate_to_device,
 * dmirror_migrate_to_system, lib/test_hmm.c): the range is walked in windows (migrate-walk.ts).
 *
 * Locking: the mmap lock is held for read over the whole walk, also across the awaited copies, as
 * the kernel's test device does; pages are locked from setup to finalize.
 */
import { errno, isErr } from '../base/errno.ts';
import { HPAGE_PMD_NR, PAGE_SIZE } from '../base/units.ts';
import { migrateVmaFinalize, migrateVmaPages } from '../mm/migrate-device.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_VALID,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_SYSTEM,
  migrateEntryPages,
  migratePfnToPage,
} from '../mm/migrate-types.ts';
import type { MigrateVma } from '../mm/migrate-types.ts';
import { cpuMaps, cpuMapsWhole } from './cpu-maps.ts';
import { dmirrorReadMapped } from './dmirror-access.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';
import { walkWindows } from './migrate-walk.ts';
import type { Way } from './migrate-walk.ts';
import type { MigrateWindow } from './migrate-window.ts';

/**
 * Moves what can be moved of the range to the device, then reads the range through the device page
 * table into the user buffer (not when `ptr` is 0).
 *
 * @returns 0 with `cpages` = pages readable on the device; ENOENT when a page is not; EINVAL for a
 * missing or unreadable VMA (earlier windows stay migrated); ENODEV or EIO when the copy engine
 * failed.
 */
export async function dmirrorMigrateToDevice(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  const walked = await walkWindows(mirror, cmd, toDevice);
  if (isErr(walked)) return walked;
  return dmirrorReadMapped(mirror, cmd);
}

/**
 * Moves the device's own pages of the range to RAM.
 *
 * @returns 0 with `cpages` = pages moved; ENOMEM when RAM is full; EINVAL, ENODEV, EIO as above.
 */
export async function dmirrorMigrateToSystem(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  const moved = await walkWindows(mirror, cmd, toSystem);
  if (isErr(moved)) return moved;
  cmd.cpages = moved;
  return 0;
}

/** To the device. */
export const toDevice: Way = {
  select: () => MIGRATE_VMA_SELECT_SYSTEM,
  allocate: (mirror, window) => {
    allocateOnDevice(mirror, window, window.args.npages);
    return 0;
  },
  copy: (mirror, window) => {
    const { engine, strategy } = mirror.device.context;
    return failsNext(mirror, window) ? errno.EIO : window.copy(engine, strategy);
  },
  finish: (mirror, window, copied) => {
    const { args } = window;
    window.settle(mirror.mm.sys, copied);
    migrateVmaPages(args);
    mirror.device.unmapFromMirrors(args.vma.mm, window, args.start, args.npages);
    migrateVmaFinalize(args);
    const moved = mapOnDevice(mirror, args);
    return isErr(copied) ? copied : moved;
  },
};

/** From this device to RAM. */
export const toSystem: Way = {
  select: (device) => device.selectOwn,
  allocate: (mirror, window) => mirror.device.allocateHome(window),
  copy: (mirror, window) => (failsNext(mirror, window) ? errno.EIO : mirror.device.copyOut(window)),
  finish: (mirror, window, copied) => {
    const status = mirror.device.finishHome(window, copied);
    return isErr(status) ? status : countMoved(window.args);
  },
};

/** Consumes the injected failure, where there is something to copy. */
function failsNext(mirror: Dmirror, { list }: MigrateWindow): boolean {
  if (!mirror.failNextCopy || list.length === 0) return false;
  mirror.failNextCopy = false;
  list.done.fill(0, 0, list.length);
  return true;
}

/** Gives each migrating page a device page and records the copy, or the clear of a hole. */
function allocateOnDevice(mirror: Dmirror, window: MigrateWindow, npages: number): void {
  const { memory } = mirror.device;
  for (let i = 0; i < npages; i += migrateEntryPages(window.src[i]!)) {
    const entry = window.src[i]!;
    if ((entry & MIGRATE_PFN_MIGRATE) === 0) continue;
    if ((entry & MIGRATE_PFN_COMPOUND) !== 0) {
      const folio = mirror.device.takeAllocFailure() ? errno.ENOMEM : memory.allocFolio();
      if (isErr(folio)) {
        window.fillWithPages(mirror.mm.sys, i, (pfns, count) => memory.allocPages(pfns, count));
      } else window.fillSlot(i, folio, HPAGE_PMD_NR);
      continue;
    }
    const pfn = mirror.device.takeAllocFailure() ? errno.ENOMEM : memory.allocPage();
    // A page that finds no room stays where it is: its dst entry is empty.
    if (!isErr(pfn)) window.fillSlot(i, pfn, 1);
  }
}

/**
 * Enters the pages that made it in the device page table (dmirror_migrate_finalize_and_map). Called
 * after finalize, in the same breath, so that the CPU page table can be asked: once for a large
 * folio that is mapped as one, for each page otherwise.
 */
function mapOnDevice(mirror: Dmirror, args: MigrateVma): number {
  const { mm, pageTable } = mirror;
  let moved = 0;
  for (let i = 0; i < args.npages; i += migrateEntryPages(args.dst[i]!)) {
    if ((args.src[i]! & MIGRATE_PFN_MIGRATE) === 0) continue;
    const pfn = migratePfnToPage(args.dst[i]!);
    if (pfn < 0) continue;
    const writable = (args.dst[i]! & MIGRATE_PFN_WRITE) !== 0;
    const pages = migrateEntryPages(args.dst[i]!);
    const step = pages > 1 && cpuMapsWhole(mm, args.start + i * PAGE_SIZE) ? pages : 1;
    for (let page = 0; page < pages; page += step) {
      const addr = args.start + (i + page) * PAGE_SIZE;
      // A userfaultfd's monitor may have write-protected the page while it was copied.
      const mayWrite = writable && cpuMaps(mm, addr, pfn + page, true);
      if (!mayWrite && !cpuMaps(mm, addr, pfn + page, false)) continue;
      pageTable.storeRun(addr / PAGE_SIZE, pfn + page, step, mayWrite);
      moved += step;
    }
  }
  return moved;
}

function countMoved(args: MigrateVma): number {
  const both = MIGRATE_PFN_VALID | MIGRATE_PFN_MIGRATE;
  let moved = 0;
  for (let i = 0; i < args.npages; i++) if ((args.src[i]! & both) === both) moved++;
  return moved;
}
