/**
 * Where the pages of a range are, without faulting anything: what /proc/pid/pagemap is to Linux,
 * one byte a page.
 */
import { PAGE_SIZE } from '../base/units.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_SWAP,
  isDevicePrivateEntry,
  isMigrationEntry,
  leafKind,
  ptePfn,
  ptePresent,
} from '../mm/swapops.ts';
import {
  PAGE_DEVICE,
  PAGE_EXCLUSIVE,
  PAGE_SWAP,
  PAGE_MIGRATING,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_ZERO,
} from './protocol.ts';

/** Writes the PAGE_* code of each page from `addr` on to `codes`. */
export function fillPageMap(
  mm: MmStruct,
  devices: readonly DmirrorDevice[],
  addr: number,
  codes: Uint8Array,
): void {
  const { pageTables } = mm.sys;
  for (let i = 0; i < codes.length; i++) {
    const at = pageTables.leafOffset(mm.pgd, addr + i * PAGE_SIZE);
    codes[i] = pageCode(mm, devices, pageTables.words[at]!);
  }
}

/** The PAGE_* code of a page table entry. */
export function pageCode(mm: MmStruct, devices: readonly DmirrorDevice[], pte: number): number {
  if (pte === 0) return PAGE_NONE;
  const pfn = ptePfn(pte);
  if (ptePresent(pte)) {
    if (mm.sys.mem.isZoneDevice(pfn)) return deviceCode(devices, pfn);
    return pfn === mm.sys.zeroPfn || pfn === mm.sys.hugeZeroPfn ? PAGE_ZERO : PAGE_RAM;
  }
  if (isMigrationEntry(pte)) return PAGE_MIGRATING;
  if (leafKind(pte) === LEAF_DEVICE_EXCLUSIVE) return PAGE_EXCLUSIVE;
  if (leafKind(pte) === LEAF_SWAP) return PAGE_SWAP;
  if (!isDevicePrivateEntry(pte)) return PAGE_NONE;
  return deviceCode(devices, ptePfn(pte));
}

function deviceCode(devices: readonly DmirrorDevice[], pfn: number): number {
  const owner = devices.find(({ memory }) => memory.has(pfn));
  return owner === undefined ? PAGE_NONE : PAGE_DEVICE + owner.minor;
}
