/*
 * Commands of the test device, as the kernel's user programs give them.
 */
import { newDmirrorCmd } from '../../../src/driver/dmirror.ts';
import type { DmirrorCmd } from '../../../src/driver/dmirror.ts';
import { MEMORY_DEVICE_COHERENT } from '../../../src/mm/memremap.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { pagesOf, processOf, realOf } from './step.ts';
import type { Range } from './step.ts';

export interface DeviceRange extends Range {
  /** Which device. */
  readonly minor: number;
}

/** Runs a command on a range; the errno, and the counts in `cmd`. */
export async function deviceCommand(
  machine: Machine,
  range: DeviceRange,
  command: number,
  ptr: number,
): Promise<{ status: number; cmd: DmirrorCmd }> {
  const mirror = machine.mirror(realOf(machine, range.slot), range.minor);
  const npages = pagesOf(range).length;
  const cmd = newDmirrorCmd(arenaAddress(range.page), npages, ptr);
  const before = mirror.device.memory.calloc;
  const status = await mirror.ioctl(command, cmd);
  const taken = mirror.device.memory.calloc - before;
  machine.tally.pagesToDevice += taken;
  if (mirror.device.memory.type === MEMORY_DEVICE_COHERENT) machine.tally.pagesToCoherent += taken;
  machine.tally.deviceFaults += cmd.faults;
  return { status, cmd };
}

/** Migration works only on ranges that are mapped and readable throughout. */
export function isReadable(model: Readonly<Model>, range: Range): boolean {
  const { pages } = processOf(model, range.slot);
  return pagesOf(range).every((at) => ((pages.get(at)?.prot ?? 0) & PROT_READ) !== 0);
}
