/**
 * Device pages that a driver keeps from the CPU for a while. In Linux migrate_to_ram does nothing
 * then, and the CPU faults again at once until the time has gone; waiting comes to the same without
 * a spin. Our own.
 *
 * Locking: called with the mmap lock held for read, before the page is locked; gives it back when
 * it waits.
 */
import { FAULT_FLAG_ALLOW_RETRY, VM_FAULT_RETRY } from './fault-types.ts';
import type { VmFault } from './fault-types.ts';
import { pagePgmap } from './memremap.ts';
import { vmEventIndex } from './vmstat.ts';

const PGFAULT = vmEventIndex('pgfault');
const DEVICE_PRIVATE_HELD = vmEventIndex('device_private_held');

/**
 * Waits as long as a driver keeps a device page, with the mmap lock dropped.
 *
 * @returns VM_FAULT_RETRY afterwards; null where nobody keeps it, or the lock can't be dropped.
 * Context: mmap lock held for read, kept with null.
 */
export function whileHeldBack(vmf: VmFault): Promise<number> | null {
  const { mm } = vmf.vma;
  if ((vmf.flags & FAULT_FLAG_ALLOW_RETRY) === 0) return null;
  const { holdsBack } = pagePgmap(mm.sys, vmf.page).ops;
  const released = holdsBack === undefined ? null : holdsBack(vmf);
  if (released === null) return null;
  mm.mmapLock.readUnlock();
  // An incomplete fault is counted when it is complete.
  mm.sys.vmstat.add(PGFAULT, -1);
  mm.sys.vmstat.add(DEVICE_PRIVATE_HELD, 1);
  return released.then(() => VM_FAULT_RETRY);
}
