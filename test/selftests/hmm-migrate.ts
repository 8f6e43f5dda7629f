/*
 * Kernel tests of migration with one device (hmm-tests.c: migrate to migrate_shared, and
 * migrate_multiple). MIGRATE_TO_DEV reports pages that the device can read afterwards and copies
 * them to the mirror, so each test sees the content twice: through the device, and later through
 * the faults of the CPU. The counters say by which way it came.
 */
import { errno, MAP_ANONYMOUS, MAP_SHARED } from '../../src/index.ts';
import { MIGRATE_FILE_PRIVATE } from './hmm-file.ts';
import { BUFFER_PAGES, index, NTIMES } from './hmm-test.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const HALF = BUFFER_PAGES / 2;

/** A range goes to the device and can be read there. */
async function migrate(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fill(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, buffer.npages, { faults: 0 });
  await test.assertMirror(buffer, index);
  // Reading on the device is not what brought a page home: all of them are still there.
  await test.assertWhere(buffer, '0'.repeat(buffer.npages));
  const expected = { pgmigrate_to_device: buffer.npages, device_private_fault: 0 };
  await test.assertCounted(before, expected, 'of the migration');
}

/** The CPU faults half of a migrated range home; migrating again takes just that half. */
async function migrateFault(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  const { npages } = buffer;
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
  await test.assertMirror(buffer, index);
  const migrated = await test.counts();
  await test.assertPtr(buffer, index, HALF);
  const home = test.faultedHome(HALF);
  const faults = { device_private_fault: home, pgmigrate_to_ram: home };
  await test.assertCounted(migrated, faults, 'of the reads by the CPU');
  await test.assertWhere(buffer, test.touched('0'.repeat(HALF)) + '0'.repeat(HALF));
  const faulted = await test.counts();
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
  await test.assertMirror(buffer, index);
  await test.assertCounted(faulted, { pgmigrate_to_device: home }, 'of the second migration');
}

/** RELEASE evicts what is on the device; nothing is lost and nothing has to fault. */
async function migrateRelease(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  const { npages } = buffer;
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
  await test.assertMirror(buffer, index);
  const before = await test.counts();
  const status = await test.cmd(test.fd, 'RELEASE', buffer, npages);
  test.assertErrno(0, status, 'RELEASE');
  await test.assertPtr(buffer, index, HALF);
  const expected = { pgmigrate_to_ram: npages, device_private_fault: 0 };
  await test.assertCounted(before, expected, 'of RELEASE and the reads after it');
}

/** Holes of shared memory are not migrated: the device finds nothing to read. */
async function migrateShared(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES, { flags: MAP_SHARED | MAP_ANONYMOUS });
  const before = await test.counts();
  await test.cmdFails(test.fd, 'MIGRATE_TO_DEV', buffer, buffer.npages, errno.ENOENT);
  await test.assertCounted(before, { pgmigrate_to_device: 0 }, 'of a refused migration');
}

/**
 * Ten ranges to the device; each comes home through the faults of the CPU, or, since the CPU does
 * not fault on coherent memory, by MIGRATE_TO_SYS.
 */
async function migrateMultiple(test: HmmTest): Promise<void> {
  for (let c = 0; c < NTIMES; c++) {
    const buffer = await test.buffer(BUFFER_PAGES);
    const { npages } = buffer;
    await test.fill(buffer, index);
    await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
    await test.assertMirror(buffer, index);
    const before = await test.counts();
    if (test.isCoherent) await test.cmdOk(test.fd, 'MIGRATE_TO_SYS', buffer, npages);
    await test.assertPtr(buffer, index);
    const expected = {
      device_private_fault: test.faultedHome(npages),
      pgmigrate_to_ram: npages,
    };
    await test.assertCounted(before, expected, `of round ${c}`);
    await test.assertWhere(buffer, 'r'.repeat(npages));
    await test.free(buffer);
  }
}

/** In the kernel's order. */
export const MIGRATE_TESTS: readonly Selftest[] = [
  { fixture: 'hmm', name: 'migrate', features: [12, 21, 51, 116], run: migrate },
  MIGRATE_FILE_PRIVATE,
  { fixture: 'hmm', name: 'migrate_fault', features: [62], run: migrateFault },
  { fixture: 'hmm', name: 'migrate_release', features: [61, 116], run: migrateRelease },
  { fixture: 'hmm', name: 'migrate_shared', features: [30], run: migrateShared },
  { fixture: 'hmm', name: 'migrate_multiple', features: [15, 62], run: migrateMultiple },
];
