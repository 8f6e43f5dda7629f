/** Small results and checks that the calls of the kernel share. */
import { TASK_SIZE, isAddress } from '../base/units.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { CopyEngine } from '../engine/copy-engine.ts';
import type { System } from '../mm/mm-types.ts';
import { updateWasted } from '../mm/readahead.ts';
import { skipReasonName } from '../mm/skip-reason.ts';
import { ACCESS_OK } from './protocol.ts';
import type { AccessResult, Counters, DeviceCounters, DmirrorResult } from './protocol.ts';

/** Pages that one call of pageMap answers for: more would block the machine for seconds. */
export const MAX_PAGE_MAP = 2 ** 23;
/** Of a read that got none. */
export const NO_BYTES = new Uint8Array(0);

/** What a device counts. */
function deviceCounters({ minor, memory, apertureBytes }: DmirrorDevice): DeviceCounters {
  return { minor, calloc: memory.calloc, cfree: memory.cfree, apertureBytes };
}

/** All counters of a machine, those that are only worked out when asked for among them. */
export function allCounters(
  sys: System,
  engine: CopyEngine,
  devices: readonly DmirrorDevice[],
): Counters {
  updateWasted(sys);
  return {
    vm: sys.vmstat.snapshot(),
    engine: { ...engine.stats },
    ramFreePages: sys.pageAllocator.freePages,
    devices: devices.map(deviceCounters),
  };
}

/** A buffer of that many bytes, null when the host has none. */
export function allocBytes(length: number): Uint8Array<ArrayBuffer> | null {
  try {
    return new Uint8Array(length);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** A command that ended with an errno. */
export function failedCommand(code: number, skipped: Record<string, number>): DmirrorResult {
  return { errno: code, cpages: 0, faults: 0, firstMs: 0, skipped };
}

/** Page counts by reason, for the reasons that occurred. */
export function skippedByName(skipped: Uint32Array): Record<string, number> {
  const byName: Record<string, number> = {};
  skipped.forEach((pages, code) => {
    if (pages > 0) byName[skipReasonName(code)] = pages;
  });
  return byName;
}

/** An access that never reached memory. */
export function refused(code: number): AccessResult {
  return { errno: code, outcome: ACCESS_OK, address: 0 };
}

/** True when [addr, addr + length) is a range of addresses that a process can name. */
export function isUserRange(addr: number, length: number): boolean {
  return isAddress(addr) && isAddress(length) && addr + length <= TASK_SIZE;
}
