/**
 * What the benchmark needs from inside the machine and no program does: it drives migrate_vma
 * without a driver, to time bookkeeping alone; it opens engines that differ in one setting, and
 * device memory without an engine. This is the only file of the benchmark that reaches past the
 * facade.
 */
/* oxlint-disable eslint/no-restricted-imports -- see above */
import { atomicsOf } from '../src/cpu/atomics-port.ts';
import { ControlMap } from '../src/cpu/control.ts';
import type { CoreImage } from '../src/cpu/core.ts';
import { wordBell } from '../src/cpu/doorbell.ts';
import { makeCpu } from '../src/cpu/fast-cpu.ts';
import type { ProgramCpu } from '../src/cpu/program.ts';
import { markCoreDead } from '../src/cpu/shootdown.ts';

export type { CoreImage, ProgramCpu };
export { FaultAround } from '../src/driver/fault-around.ts';
export { nudgerOf } from '../src/gpu/nudge.ts';
export { createVram } from '../src/gpu/vram.ts';
export { createWebGpuEngine } from '../src/gpu/webgpu-engine.ts';
export type { WebGpuEngineOptions } from '../src/gpu/webgpu-engine.ts';
export { migrateVmaFinalize, migrateVmaPages, migrateVmaSetup } from '../src/mm/migrate-device.ts';
export {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_COMPOUND,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  NO_FAULT_PAGE,
  migratePfn,
  migratePfnToPage,
} from '../src/mm/migrate-types.ts';
export { migrateDeviceUnmap } from '../src/mm/migrate-device-unmap.ts';
export { migrateVmaCollect } from '../src/mm/migrate-vma-collect.ts';
export type { MigrateVma } from '../src/mm/migrate-types.ts';
export type { MmStruct, System, Vma } from '../src/mm/mm-types.ts';
export { allocHugeFolio, allocPage, allocPages, putPage } from '../src/mm/page-alloc.ts';

/** A core in this thread, parked. */
export function makeCore(image: CoreImage): ProgramCpu {
  const port = atomicsOf(() => performance.now());
  const bell = wordBell(new Int32Array(image.control));
  return makeCpu(image, port, bell, () => undefined);
}

/** Says that the thread of a parked core has been ended. */
export function markDead(image: CoreImage): void {
  const map = ControlMap.attach(image.control, image.ringCapacity);
  markCoreDead(
    atomicsOf(() => performance.now()),
    map.words,
    map.block(image.slot),
  );
}
