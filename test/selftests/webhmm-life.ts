/*
 * Our tests of how long a page lives on a device and what happens to it there: holes, permissions,
 * allocation failures, and the ends of mappings, files and processes.
 */
import {
  errno,
  ErrnoError,
  HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  PAGE_SIZE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  SignalError,
} from '../../src/index.ts';
import { index, negative, zero } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

/** `npages` of FLAGS that makes the next allocation of a migration fail. */
const FAIL_ALLOC = 1;

async function assertProtections(test: HmmTest, buffer: HmmBuffer, byte: number): Promise<void> {
  await test.cmdOk(test.fd, 'SNAPSHOT', buffer, buffer.npages);
  const seen = await test.process.read(buffer.mirror, buffer.npages);
  const expected = Array.from({ length: buffer.npages }, () => byte);
  test.assertBytes(expected, seen, 'protections');
}

/** What a call throws: the errno of a failed call, or the name of a signal. */
async function outcomeOf(call: Promise<unknown>): Promise<number | string> {
  try {
    await call;
    return 0;
  } catch (error) {
    if (error instanceof ErrnoError) return error.errno;
    if (error instanceof SignalError) return error.signal;
    throw error;
  }
}

/** Untouched memory migrates as zeros, whoever owned these pages of the device before. */
async function holesAreZero(test: HmmTest): Promise<void> {
  const other = await test.buffer(8);
  await test.fill(other, negative);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', other, 8);
  await test.free(other);
  const buffer = await test.buffer(8);
  await test.fillMirror(buffer, negative);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 8);
  await test.assertMirror(buffer, zero);
  await assertProtections(
    test,
    buffer,
    HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL + HMM_DMIRROR_PROT_WRITE,
  );
  await test.assertPtr(buffer, zero);
}

/** A migrated hole is read-only in the device's own table, so its first write faults once. */
async function holeWriteFaultsOnce(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(4);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4);
  await test.fillMirror(buffer, index);
  await test.cmdOk(test.fd, 'WRITE', buffer, 4, { faults: 1 });
  await test.cmdOk(test.fd, 'WRITE', buffer, 4, { faults: 0 });
  await test.assertWhere(buffer, '0000');
  await test.assertPtr(buffer, index);
}

/** A migrated page that was writable needs no fault to be written. */
async function migratedPagesStayWritable(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(4);
  await test.fill(buffer, negative);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4);
  await test.fillMirror(buffer, index);
  await test.cmdOk(test.fd, 'WRITE', buffer, 4, { faults: 0 });
  await test.assertWhere(buffer, '0000');
  await test.assertPtr(buffer, index);
}

/** The device computes on its own pages; the CPU sees the sums, and not before it asks. */
async function addOnDevice(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(8);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4, { first: 2 });
  // The other pages are in RAM: the device reaches them there, after one fault.
  const request = { addr: buffer.ptr, ptr: 1_000_000_007, npages: 8 };
  const result = await test.fd.tryIoctl('ADD', request);
  test.assertErrno(0, result.errno, 'ADD of 8 pages');
  test.assertEq(1, result.faults, 'faults of ADD');
  await test.assertWhere(buffer, 'rr0000rr');
  await test.assertPtr(buffer, (i) => i + 1_000_000_007);
}

/** A CPU access brings home the page that it touches and no other. */
async function faultsMovesOnePage(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4);
  const before = await test.counts();
  await test.process.touch(buffer.ptr + PAGE_SIZE, 'read');
  await test.process.touch(buffer.ptr + 3 * PAGE_SIZE + 4095, 'write');
  await test.assertWhere(buffer, '0r0r');
  await test.assertCounted(before, { device_private_fault: 2 }, 'of two accesses');
  await test.assertPtr(buffer, index);
}

/** mprotect takes the right to write away for good; writing again takes a fault. */
async function protectionIsNotUpgraded(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 4);
  const readOnly = HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL + HMM_DMIRROR_PROT_READ;
  await test.protect(buffer, PROT_READ);
  await assertProtections(test, buffer, readOnly);
  await test.protect(buffer, PROT_READ | PROT_WRITE);
  await assertProtections(test, buffer, readOnly);
  await test.fill(buffer, negative);
  await test.assertWhere(buffer, 'rrrr');
  await assertProtections(test, buffer, HMM_DMIRROR_PROT_WRITE);
  await test.assertPtr(buffer, negative);
}

/** Memory that the process may not touch is a signal, also when it is on the device. */
async function unreadableIsSignal(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(2);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 2);
  await test.protect(buffer, PROT_NONE);
  test.assertEq('SIGSEGV', await outcomeOf(test.process.touch(buffer.ptr, 'read')), 'a load');
  await test.assertWhere(buffer, '00');
  await test.protect(buffer, PROT_READ);
  test.assertEq('SIGSEGV', await outcomeOf(test.process.touch(buffer.ptr, 'write')), 'a store');
  await test.assertPtr(buffer, index);
}

/** FLAGS makes one allocation fail: a page stays behind, a command or an access fails, once. */
async function allocationFailure(test: HmmTest): Promise<void> {
  const { fd } = test;
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  await test.cmdOk(fd, 'FLAGS', buffer, FAIL_ALLOC, { cpages: 0 });
  await test.cmdFails(fd, 'MIGRATE_TO_DEV', buffer, 4, errno.ENOENT);
  await test.assertWhere(buffer, 'r000');
  await test.cmdOk(fd, 'MIGRATE_TO_DEV', buffer, 4);
  await test.cmdOk(fd, 'FLAGS', buffer, FAIL_ALLOC, { cpages: 0 });
  await test.cmdFails(fd, 'MIGRATE_TO_SYS', buffer, 4, errno.ENOMEM);
  await test.assertWhere(buffer, '0000');
  await test.cmdOk(fd, 'FLAGS', buffer, FAIL_ALLOC, { cpages: 0 });
  const access = test.process.touch(buffer.ptr, 'read');
  test.assertErrno(errno.ENOMEM, Number(await outcomeOf(access)), 'a load without memory');
  await test.assertWhere(buffer, '0000');
  await test.assertPtr(buffer, index);
}

/** RELEASE empties the device for everybody, and leaves the other device alone. */
async function releaseEvictsAll(test: HmmTest): Promise<void> {
  const mine = await test.buffer(4);
  await test.fill(mine, index);
  await test.cmdOk(test.fd1, 'MIGRATE_TO_DEV', mine, 4);
  const other = await test.spawn();
  const fd = await test.open(other, 0);
  const theirs = await test.buffer(4, {}, other);
  await test.store(theirs.ptr, 4, negative, 0, other);
  await test.cmdOk(fd, 'MIGRATE_TO_DEV', theirs, 4);
  await test.assertWhere(theirs, '0000', other);
  test.assertErrno(0, await test.cmd(test.fd, 'RELEASE', mine, 1), 'RELEASE');
  await test.assertWhere(theirs, 'rrrr', other);
  await test.assertWhere(mine, '1111');
  await test.assertMemory(theirs.ptr, 4, negative, 'memory of the other process', other);
  // A device that was emptied takes pages again.
  await test.cmdOk(fd, 'MIGRATE_TO_DEV', theirs, 4);
  await test.assertPtr(mine, index);
}

/** Closing the device loses nothing: pages come home when they are touched. */
async function closeKeepsData(test: HmmTest): Promise<void> {
  const device = await test.open(test.process, 0);
  const buffer = await test.buffer(4);
  await test.fill(buffer, index);
  await test.cmdOk(device, 'MIGRATE_TO_DEV', buffer, 4);
  await test.close(device);
  test.assertErrno(errno.EBADF, await test.cmd(device, 'READ', buffer, 4), 'READ when closed');
  await test.assertPtr(buffer, index);
}

/** Pages whose mapping or process ends go back to the device at once, without a copy home. */
async function unmapFreesDevicePages(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(8);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 8);
  const other = await test.spawn();
  const fd = await test.open(other, 0);
  const theirs = await test.buffer(8, {}, other);
  await test.cmdOk(fd, 'MIGRATE_TO_DEV', theirs, 8);
  const before = await test.counts();
  await test.free(buffer);
  await test.exit(other, [fd]);
  const { devices } = await test.machine.counters();
  test.assertEq(devices[0]?.calloc ?? -1, devices[0]?.cfree ?? -2, 'pages returned to device 0');
  await test.assertCounted(before, { pgmigrate_to_ram: 0 }, 'of munmap and exit');
}

export const LIFE_TESTS: readonly Selftest[] = [
  { fixture: 'webhmm', name: 'holes_are_zero', features: [28, 46], run: holesAreZero },
  { fixture: 'webhmm', name: 'hole_write_faults_once', features: [46], run: holeWriteFaultsOnce },
  {
    fixture: 'webhmm',
    name: 'migrated_pages_stay_writable',
    features: [51],
    run: migratedPagesStayWritable,
  },
  { fixture: 'webhmm', name: 'add_on_device', run: addOnDevice },
  { fixture: 'webhmm', name: 'fault_moves_one_page', features: [62], run: faultsMovesOnePage },
  {
    fixture: 'webhmm',
    name: 'protection_is_not_upgraded',
    features: [67, 105],
    run: protectionIsNotUpgraded,
  },
  { fixture: 'webhmm', name: 'unreadable_is_signal', run: unreadableIsSignal },
  { fixture: 'webhmm', name: 'allocation_failure', features: [65, 119], run: allocationFailure },
  { fixture: 'webhmm', name: 'release_evicts_all', features: [19, 61], run: releaseEvictsAll },
  { fixture: 'webhmm', name: 'close_keeps_data', run: closeKeepsData },
  {
    fixture: 'webhmm',
    name: 'unmap_frees_device_pages',
    features: [16, 103],
    run: unmapFreesDevicePages,
  },
];
