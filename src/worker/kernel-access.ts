/**
 * A process's own accesses to its memory, as calls (protocol.ts): loads, stores, and where its
 * pages are. Arguments come from callers without types.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  FAULT_OK,
  accessiblePage,
  copyFromUser,
  copyToUser,
  faultInUser,
} from '../mm/uaccess.ts';
import type { CopyFault } from '../mm/uaccess.ts';
import { MAX_PAGE_MAP, NO_BYTES, allocBytes, isUserRange, refused } from './kernel-results.ts';
import { fillPageMap } from './page-map.ts';
import { ACCESS_OK } from './protocol.ts';
import type { AccessResult, PageMapResult, ReadResult } from './protocol.ts';

/** KernelApi.read; undefined = there is no such process. */
export async function readMemory(
  mm: MmStruct | undefined,
  addr: number,
  length: number,
): Promise<ReadResult> {
  if (mm === undefined) return { ...refused(errno.ESRCH), bytes: NO_BYTES };
  if (!isUserRange(addr, length)) return { ...refused(errno.EINVAL), bytes: NO_BYTES };
  const bytes = allocBytes(length);
  if (bytes === null) return { ...refused(errno.ENOMEM), bytes: NO_BYTES };
  const fault: CopyFault = { outcome: FAULT_OK, address: 0 };
  const left = await copyFromUser(mm, addr, bytes, fault);
  if (left === 0) return { errno: 0, outcome: ACCESS_OK, address: 0, bytes };
  return { errno: 0, ...fault, bytes: bytes.slice(0, length - left) };
}

/** KernelApi.write. */
export async function writeMemory(
  mm: MmStruct | undefined,
  addr: number,
  bytes: Uint8Array,
): Promise<AccessResult> {
  if (mm === undefined) return refused(errno.ESRCH);
  // Callers without types: something that is no bytes would be copied as zeroes.
  if (!((bytes as unknown) instanceof Uint8Array)) return refused(errno.EINVAL);
  if (!isUserRange(addr, bytes.length)) return refused(errno.EINVAL);
  const fault: CopyFault = { outcome: FAULT_OK, address: 0 };
  await copyToUser(mm, addr, bytes, fault);
  return { errno: 0, ...fault };
}

/** KernelApi.touch. */
export async function touchMemory(
  mm: MmStruct | undefined,
  addr: number,
  access: 'read' | 'write',
): Promise<AccessResult> {
  if (mm === undefined) return refused(errno.ESRCH);
  if (!isUserRange(addr, 1)) return refused(errno.EINVAL);
  const kind = access === 'write' ? ACCESS_WRITE : ACCESS_READ;
  while (accessiblePage(mm, addr, kind) === 0) {
    const outcome = await faultInUser(mm, addr, kind);
    if (outcome !== FAULT_OK) return { errno: 0, outcome, address: addr };
  }
  return { errno: 0, outcome: ACCESS_OK, address: 0 };
}

/** KernelApi.pageMap. */
export function mapOfPages(
  mm: MmStruct | undefined,
  devices: readonly DmirrorDevice[],
  addr: number,
  npages: number,
): PageMapResult {
  if (mm === undefined) return { errno: errno.ESRCH, codes: NO_BYTES };
  if (!isAddress(npages) || !isPageAligned(addr) || !isUserRange(addr, npages * PAGE_SIZE)) {
    return { errno: errno.EINVAL, codes: NO_BYTES };
  }
  const codes = npages > MAX_PAGE_MAP ? null : allocBytes(npages);
  if (codes === null) return { errno: errno.ENOMEM, codes: NO_BYTES };
  fillPageMap(mm, devices, addr, codes);
  return { errno: 0, codes };
}
