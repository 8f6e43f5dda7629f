/**
 * What the benchmark needs from inside the machine and no program does: it drives migrate_vma
 * without a driver, to time bookkeeping alone; it opens engines that differ in one setting, and
 * device memory without an engine. This is the only file of the benchmark that reaches past the
 * facade.
 */
/* oxlint-disable eslint/no-restricted-imports -- see above */
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
  migratePfn,
  migratePfnToPage,
} from '../src/mm/migrate-types.ts';
export type { MigrateVma } from '../src/mm/migrate-types.ts';
export type { MmStruct, System, Vma } from '../src/mm/mm-types.ts';
export { allocHugeFolio, allocPage, allocPages, putPage } from '../src/mm/page-alloc.ts';
