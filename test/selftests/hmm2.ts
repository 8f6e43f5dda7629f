/*
 * Kernel tests with two devices (hmm-tests.c, fixture hmm2): what one device owns is not the
 * other's to migrate, to see in a snapshot, or to read without bringing it home first.
 */
import {
  errno,
  HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL,
  HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE,
  HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL,
  HMM_DMIRROR_PROT_ERROR,
  HMM_DMIRROR_PROT_NONE,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  HMM_DMIRROR_PROT_ZERO,
  PAGE_SIZE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { index } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const READ_WRITE = PROT_READ | PROT_WRITE;
const MIXED_PAGES = 6;
const SNAPSHOT_PAGES = 7;

/** A writable page of the asking device, and one of another: the CPU could fault that one home. */
const PRIVATE_BYTES = [
  HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL + HMM_DMIRROR_PROT_WRITE,
  HMM_DMIRROR_PROT_NONE,
];
const COHERENT_BYTES = [
  HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL + HMM_DMIRROR_PROT_WRITE,
  HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE + HMM_DMIRROR_PROT_WRITE,
];

/** Page 2 becomes the zero page, page 3 a page of its own that may only be read. */
async function preparePages2And3(test: HmmTest, buffer: HmmBuffer): Promise<void> {
  await test.protect(buffer, PROT_READ, 2, 1);
  test.assertEq(3, (await test.loadWord(buffer, 2)) + 3, 'word of page 2, plus 3');
  await test.protect(buffer, READ_WRITE, 3, 1);
  await test.storeWord(buffer, 3, 3);
  await test.protect(buffer, PROT_READ, 3, 1);
}

/** Unreadable and absent memory is refused; zero page, read-only and writable pages migrate. */
async function migrateMixed(test: HmmTest): Promise<void> {
  const { fd, fd1 } = test;
  const buffer = await test.buffer(MIXED_PAGES, { prot: PROT_NONE });
  await test.cmdFails(fd1, 'MIGRATE_TO_DEV', buffer, MIXED_PAGES, errno.EINVAL);
  await test.process.munmap(buffer.ptr + PAGE_SIZE, PAGE_SIZE);
  await test.cmdFails(fd1, 'MIGRATE_TO_DEV', buffer, 3, errno.EINVAL);
  await preparePages2And3(test, buffer);
  await test.protect(buffer, READ_WRITE, 4, 2);
  await test.storeWord(buffer, 4, 3);
  await test.storeWord(buffer, 5, 3);
  await test.cmdOk(fd1, 'MIGRATE_TO_DEV', buffer, 4, { first: 2 });
  await test.assertWhere(buffer, '--1111');
  // The page belongs to the other device, which this one has not selected.
  await test.cmdFails(fd, 'MIGRATE_TO_DEV', buffer, 1, errno.ENOENT, 5);
  await test.assertWhere(buffer, '--1111');
}

/** One byte for each kind of page that a process can have, without changing any. */
async function snapshot(test: HmmTest): Promise<void> {
  const { fd, fd1 } = test;
  const buffer = await test.buffer(SNAPSHOT_PAGES, { prot: PROT_NONE });
  await test.process.munmap(buffer.ptr + PAGE_SIZE, PAGE_SIZE);
  await preparePages2And3(test, buffer);
  await test.protect(buffer, READ_WRITE, 4, 3);
  await test.storeWord(buffer, 4, 3);
  await test.cmdOk(fd, 'MIGRATE_TO_DEV', buffer, 1, { first: 5 });
  await test.cmdOk(fd1, 'MIGRATE_TO_DEV', buffer, 1, { first: 6 });
  const before = await test.counts();
  await test.cmdOk(fd, 'SNAPSHOT', buffer, SNAPSHOT_PAGES, { faults: 0 });
  const bytes = await test.process.read(buffer.mirror, SNAPSHOT_PAGES);
  const expected = [
    HMM_DMIRROR_PROT_ERROR,
    HMM_DMIRROR_PROT_ERROR,
    HMM_DMIRROR_PROT_ZERO + HMM_DMIRROR_PROT_READ,
    HMM_DMIRROR_PROT_READ,
    HMM_DMIRROR_PROT_WRITE,
    ...(test.isCoherent ? COHERENT_BYTES : PRIVATE_BYTES),
  ];
  test.assertBytes(expected, bytes, 'protections');
  await test.assertWhere(buffer, '--zrr01');
  await test.assertCounted(before, { hmm_fault: 0, device_private_fault: 0 }, 'of SNAPSHOT');
}

/**
 * Two devices map the same pages; migration to one makes the other fault: private pages come home,
 * coherent ones it reads where they are.
 */
async function doubleMap(test: HmmTest): Promise<void> {
  const { fd, fd1 } = test;
  const buffer = await test.buffer(MIXED_PAGES);
  const { npages } = buffer;
  await test.fill(buffer, index);
  await test.protect(buffer, PROT_READ);
  await test.cmdOk(fd, 'READ', buffer, npages, { faults: 1 });
  await test.assertMirror(buffer, index);
  await test.cmdOk(fd1, 'READ', buffer, npages, { faults: 1 });
  await test.assertMirror(buffer, index);
  await test.cmdOk(fd1, 'MIGRATE_TO_DEV', buffer, npages);
  await test.assertWhere(buffer, '111111');
  const before = await test.counts();
  await test.cmdOk(fd, 'READ', buffer, npages, { faults: 1 });
  await test.assertMirror(buffer, index);
  const expected = { pgmigrate_to_ram: test.faultedHome(npages) };
  await test.assertCounted(before, expected, 'of the foreign read');
  await test.assertWhere(buffer, test.touched('111111'));
}

/** In the kernel's order. */
export const HMM2_TESTS: readonly Selftest[] = [
  { fixture: 'hmm2', name: 'migrate_mixed', features: [19, 29, 39, 120], run: migrateMixed },
  {
    fixture: 'hmm2',
    name: 'snapshot',
    features: [73, 76, 78, 80, 81, 83, 118, 120],
    run: snapshot,
  },
  { fixture: 'hmm2', name: 'double_map', features: [78, 93, 120], run: doubleMap },
];
