/**
 * What the benchmark needs from inside the machine and no program does: it drives migrate_vma
 * without a driver, to time bookkeeping alone. This is the only file of the benchmark that
 * reaches past the facade.
 */
/* oxlint-disable eslint/no-restricted-imports -- see above */
export { migrateVmaFinalize, migrateVmaPages, migrateVmaSetup } from '../src/mm/migrate-device.ts';
export {
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  migratePfn,
  migratePfnToPage,
} from '../src/mm/migrate-types.ts';
export type { MigrateVma } from '../src/mm/migrate-types.ts';
export type { MmStruct, System, Vma } from '../src/mm/mm-types.ts';
export { allocPage, allocPages, putPage } from '../src/mm/page-alloc.ts';
