/*
 * Our tests of what the test device reports: expectations that the kernel's tests have without
 * saying so. `faults` counts rounds, not pages; `cpages` of MIGRATE_TO_DEV counts what the device
 * can read, not what moved; a migration that fails may still have moved pages; every command
 * checks its range, and a failing one reports nothing.
 */
import {
  errno,
  MAP_ANONYMOUS,
  MAP_SHARED,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { DmirrorCommand, TestDevice } from '../../src/index.ts';
import { BUFFER_PAGES, index, negative } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const COMMANDS: readonly DmirrorCommand[] = [
  'READ',
  'WRITE',
  'MIGRATE_TO_DEV',
  'MIGRATE_TO_SYS',
  'SNAPSHOT',
  'RELEASE',
  'FLAGS',
  'ADD',
];

/** A round faults everything that is still missing, however many windows and gaps that has. */
async function faultsCountRounds(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'READ', buffer, 10, { faults: 1 });
  await test.cmdOk(test.fd, 'READ', buffer, 10, { faults: 1, first: 20 });
  await test.cmdOk(test.fd, 'READ', buffer, BUFFER_PAGES, { faults: 1 });
  await test.cmdOk(test.fd, 'READ', buffer, BUFFER_PAGES, { faults: 0 });
  await test.assertMirror(buffer, index);
  // What the CPU changes in the mapping, the device has to fault again.
  await test.protect(buffer, PROT_READ, 500, 1);
  await test.cmdOk(test.fd, 'READ', buffer, 500, { faults: 0 });
  await test.cmdOk(test.fd, 'READ', buffer, 1, { faults: 1, first: 500 });
}

/** A device that has a page for reading faults once more to write it, then no more. */
async function writeFaultsOnce(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fillMirror(buffer, index);
  // Reading a hole maps the zero page, which can't be written.
  await test.cmdOk(test.fd, 'READ', buffer, 4, { faults: 1 });
  await test.fillMirror(buffer, index);
  await test.cmdOk(test.fd, 'WRITE', buffer, 4, { faults: 1 });
  await test.cmdOk(test.fd, 'WRITE', buffer, 4, { faults: 0 });
  await test.cmdOk(test.fd, 'READ', buffer, 4, { faults: 0 });
  await test.assertPtr(buffer, index, 4);
}

/** `cpages` covers pages that were on the device before; only the others move. */
async function cpagesCountsReadable(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 24, { first: 8 });
  const before = await test.allocated(0);
  const counts = await test.counts();
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, BUFFER_PAGES);
  test.assertEq(BUFFER_PAGES - 24, (await test.allocated(0)) - before, 'pages taken by the second');
  const expected = { pgmigrate_to_device: BUFFER_PAGES - 24, pgmigrate_to_ram: 0 };
  await test.assertCounted(counts, expected, 'of the second migration');
  // The copy to the mirror covers the range, not what moved.
  await test.assertMirror(buffer, index);
}

/** MIGRATE_TO_SYS counts what moved, and leaves the mirror alone. */
async function toSysCountsMoved(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(8);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4, { first: 2 });
  await test.fillMirror(buffer, negative);
  await test.cmdOk(test.fd, 'MIGRATE_TO_SYS', buffer, 8, { cpages: 4, faults: 0 });
  await test.assertWhere(buffer, 'rrrrrrrr');
  await test.assertMirror(buffer, negative);
  await test.cmdOk(test.fd, 'MIGRATE_TO_SYS', buffer, 8, { cpages: 0 });
  await test.assertPtr(buffer, index);
}

/** A page of another device makes the migration fail; its neighbours have moved nevertheless. */
async function failureMovesNeighbours(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(5);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd1, 'MIGRATE_TO_DEV', buffer, 1, { first: 2 });
  await test.fillMirror(buffer, negative);
  buffer.cpages = 77;
  await test.cmdFails(test.fd, 'MIGRATE_TO_DEV', buffer, 5, errno.ENOENT);
  test.assertEq(77, buffer.cpages, 'cpages of a command that failed');
  await test.assertWhere(buffer, '00100');
  await test.assertMirror(buffer, negative);
  await test.assertPtr(buffer, index);
}

/** Pages of the page cache do not go to the device; they are put back as they were. */
async function sharedPagesStay(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(8, { flags: MAP_SHARED | MAP_ANONYMOUS });
  await test.fill(buffer, index);
  const before = await test.counts();
  await test.cmdFails(test.fd, 'MIGRATE_TO_DEV', buffer, 8, errno.ENOENT);
  await test.assertWhere(buffer, 'rrrrrrrr');
  await test.assertCounted(before, { pgmigrate_to_device: 0 }, 'of shared pages');
  await test.assertPtr(buffer, index);
}

/** Reaching memory that is not mapped fails, and what came before it stays migrated. */
async function earlierPiecesStayMigrated(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(8);
  await test.fill(buffer, index);
  await test.process.munmap(buffer.ptr + 5 * PAGE_SIZE, PAGE_SIZE);
  await test.cmdFails(test.fd, 'MIGRATE_TO_DEV', buffer, 8, errno.EINVAL);
  await test.assertWhere(buffer, '00000-rr');
  await test.cmdFails(test.fd, 'MIGRATE_TO_SYS', buffer, 8, errno.EINVAL);
  await test.assertWhere(buffer, 'rrrrr-rr');
  await test.assertPtr(buffer, index, 5);
}

/** Every command refuses an unaligned, an empty and a wrapping range; also those without one. */
async function rangesAreChecked(test: HmmTest): Promise<void> {
  const { ptr, mirror } = await test.buffer(2);
  const bad = [
    { addr: ptr + 1, ptr: mirror, npages: 1 },
    { addr: ptr, ptr: mirror, npages: 0 },
    { addr: ptr, ptr: mirror, npages: 2 ** 52 },
  ];
  for (const command of COMMANDS) {
    for (const request of bad) {
      const result = await test.fd.tryIoctl(command, request);
      const what = `${command} of ${request.npages} pages at 0x${request.addr.toString(16)}`;
      test.assertErrno(errno.EINVAL, result.errno, what);
      test.assertEq(0, result.cpages + result.faults, `counts of ${what}`);
    }
  }
}

/** A buffer that the process may not write is an error, after the device has done its part. */
async function badMirror(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  await test.process.mprotect(buffer.mirror, 4 * PAGE_SIZE, PROT_READ);
  for (const command of ['READ', 'MIGRATE_TO_DEV', 'SNAPSHOT'] as const) {
    await test.cmdFails(test.fd, command, buffer, 4, errno.EFAULT);
  }
  await test.assertWhere(buffer, '0000');
  await test.process.mprotect(buffer.mirror, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE);
  await test.cmdOk(test.fd, 'READ', buffer, 4);
  await test.assertMirror(buffer, index);
}

/** A command says of each page that it left where it was why it did, also when it failed. */
async function reasonsAreNamed(test: HmmTest): Promise<void> {
  const { fd, fd1 } = test;
  const reasonsOf = async (
    device: TestDevice,
    command: DmirrorCommand,
    { ptr: addr, npages }: HmmBuffer,
  ): Promise<string> => {
    const { skipped } = await device.tryIoctl(command, { addr, ptr: 0, npages });
    return JSON.stringify(skipped);
  };
  const shared = await test.buffer(4, { flags: MAP_SHARED | MAP_ANONYMOUS });
  await test.storeWord(shared, 0, 1);
  const inShared = await reasonsOf(fd, 'MIGRATE_TO_DEV', shared);
  test.expectEq(
    '{"hole in a non-anonymous VMA":3,"page-cache page to a device":1}',
    inShared,
    'reasons in shared memory',
  );
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  test.expectEq('{}', await reasonsOf(fd, 'MIGRATE_TO_DEV', buffer), 'reasons of a success');
  const again = await reasonsOf(fd, 'MIGRATE_TO_DEV', buffer);
  test.expectEq('{"not selected":4}', again, 'reasons where all are there already');
  const home = await reasonsOf(fd1, 'MIGRATE_TO_SYS', buffer);
  test.expectEq('{"foreign owner":4}', home, 'reasons of another device');
}

export const COUNT_TESTS: readonly Selftest[] = [
  { fixture: 'webhmm', name: 'faults_count_rounds', run: faultsCountRounds },
  { fixture: 'webhmm', name: 'write_faults_once', features: [81], run: writeFaultsOnce },
  { fixture: 'webhmm', name: 'cpages_counts_readable', run: cpagesCountsReadable },
  { fixture: 'webhmm', name: 'to_sys_counts_moved', features: [116], run: toSysCountsMoved },
  {
    fixture: 'webhmm',
    name: 'failure_moves_neighbours',
    features: [39],
    run: failureMovesNeighbours,
  },
  { fixture: 'webhmm', name: 'shared_pages_stay', features: [40, 50], run: sharedPagesStay },
  { fixture: 'webhmm', name: 'earlier_pieces_stay_migrated', run: earlierPiecesStayMigrated },
  { fixture: 'webhmm', name: 'reasons_are_named', features: [30, 39], run: reasonsAreNamed },
  { fixture: 'webhmm', name: 'ranges_are_checked', features: [116], run: rangesAreChecked },
  { fixture: 'webhmm', name: 'bad_mirror', run: badMirror },
];
