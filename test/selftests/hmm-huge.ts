/*
 * Kernel tests of transparent huge pages on devices, and of hugetlb (hmm-tests.c). They run where a
 * filter asks for them.
 *
 * The kernel skips those of hugetlb without a free page of the default size; the pool here grows
 * when it is asked.
 */
import {
  errno,
  HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL,
  HMM_DMIRROR_PROT_PMD,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  MADV_COLLAPSE,
  MADV_FREE,
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_HUGETLB,
  MAP_PRIVATE,
  PAGE_SIZE,
  PMD_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { index, zero } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

/** Pages of a PMD range. */
export const PMD_PAGES = PMD_SIZE / PAGE_SIZE;
const READ_WRITE = PROT_READ | PROT_WRITE;
const HUGETLB = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
/** First word of page 2. */
const SOME_WORD = 2048;

interface HugeOptions {
  readonly prot?: number;
  /** What is advised at once; null: nothing. */
  readonly advice?: number | null;
}

/** A buffer of one PMD range inside of two mapped ones, its mirror full of 0xFF. */
export async function hugeBuffer(test: HmmTest, options: HugeOptions = {}): Promise<HmmBuffer> {
  const mirror = await test.process.mmap({ length: PMD_SIZE, prot: READ_WRITE });
  const buffer = { ptr: 0, mirror, npages: PMD_PAGES, cpages: 0, faults: 0 };
  await mapHuge(test, buffer, options);
  await test.fillMirror(buffer, () => -1);
  return buffer;
}

/** Maps the range under test, and what is around it. */
async function mapHuge(
  test: HmmTest,
  buffer: HmmBuffer,
  { prot = READ_WRITE, advice = MADV_HUGEPAGE }: HugeOptions,
): Promise<void> {
  const old = await test.process.mmap({ length: 2 * PMD_SIZE, prot });
  buffer.ptr = Math.ceil(old / PMD_SIZE) * PMD_SIZE;
  if (advice !== null) await test.process.madvise(buffer.ptr, PMD_SIZE, advice);
}

/** All of a buffer goes to the device and can be read there. */
async function migrate(test: HmmTest, buffer: HmmBuffer): Promise<void> {
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, PMD_PAGES);
  await test.assertWhere(buffer, '0'.repeat(PMD_PAGES));
}

/** Private memory goes as one folio; the one chunk of a coherent device is of single pages. */
function foldedTo(test: HmmTest): Readonly<Record<string, number>> {
  return { thp_migration_success: test.isCoherent ? 0 : 1 };
}

/** Lets the next allocation of device or RAM pages fail (HMM_DMIRROR_FLAG_FAIL_ALLOC). */
async function failAlloc(test: HmmTest, buffer: HmmBuffer): Promise<void> {
  test.assertErrno(0, await test.cmd(test.fd, 'FLAGS', buffer, 1), 'FLAGS');
}

/** A device write to an untouched range makes one large folio. */
async function anonWriteHuge(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test);
  await test.fillMirror(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'WRITE', buffer, PMD_PAGES, { faults: 1 });
  await test.assertCounted(before, { thp_fault_alloc: 1 }, 'of the device write');
  await test.assertPtr(buffer, index);
}

/** A device write to an untouched huge page of hugetlb makes it. */
async function anonWriteHugetlbfs(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(PMD_PAGES, { flags: HUGETLB });
  await test.fillMirror(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'WRITE', buffer, buffer.npages, { faults: 1 });
  await test.assertCounted(before, { htlb_buddy_alloc_success: 1 }, 'of the device write');
  await test.assertPtr(buffer, index);
}

/** A hole of PMD size becomes device memory of zeroes. */
async function migrateAnonHugeEmpty(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test, { prot: PROT_READ });
  await migrate(test, buffer);
  await test.assertMirror(buffer, zero);
}

/** So does the huge zero page. */
async function migrateAnonHugeZero(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test, { prot: PROT_READ });
  test.assertEq(0, await test.loadWord(buffer, 0), 'first word');
  await test.assertWhere(buffer, 'z'.repeat(PMD_PAGES));
  await migrate(test, buffer);
  await test.assertMirror(buffer, zero);
  await test.assertPtr(buffer, zero);
}

/** MADV_FREE leaves what is on the device alone. */
async function migrateAnonHugeFree(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test);
  await test.fill(buffer, index);
  const before = await test.counts();
  await migrate(test, buffer);
  await test.assertMirror(buffer, index);
  await test.assertCounted(before, foldedTo(test), 'of the migration');
  await test.process.madvise(buffer.ptr, PMD_SIZE, MADV_FREE);
  await test.free(buffer);
}

/** A range is collapsed, goes to the device as one folio, and comes home by one CPU fault. */
async function migrateAnonHugeFault(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test, { advice: null });
  await test.fill(buffer, index);
  const before = await test.counts();
  await test.process.madvise(buffer.ptr, PMD_SIZE, MADV_COLLAPSE);
  await test.assertCounted(before, { thp_collapse_alloc: 1 }, 'of MADV_COLLAPSE');
  await migrate(test, buffer);
  await test.assertMirror(buffer, index);
  await test.assertCounted(before, foldedTo(test), 'of the migration');
  if (!test.isCoherent) {
    const byte = HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL + HMM_DMIRROR_PROT_WRITE + HMM_DMIRROR_PROT_PMD;
    await assertSnapshot(test, buffer, byte);
  }
  const migrated = await test.counts();
  await test.assertPtr(buffer, index);
  const faults = { device_private_fault: test.faultedHome(1) };
  await test.assertCounted(migrated, faults, 'of the reads by the CPU');
}

/** Without a large folio on either side, single pages do. */
async function migrateAnonHugeErr(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test);
  await test.fill(buffer, index);
  await failAlloc(test, buffer);
  await migrate(test, buffer);
  await test.assertMirror(buffer, index);
  test.assertEq(SOME_WORD, await test.loadWord(buffer, 2), 'word 2048');
  await remap(test, buffer, READ_WRITE);
  await test.fill(buffer, index);
  await migrate(test, buffer);
  await failAlloc(test, buffer);
  const status = await test.cmd(test.fd, 'MIGRATE_TO_SYS', buffer, PMD_PAGES);
  // Single pages of a coherent device have nothing to fall back to. The kernel's test, which
  // expects success on every device, can't pass there.
  test.assertErrno(test.isCoherent ? errno.ENOMEM : 0, status, 'MIGRATE_TO_SYS');
  test.assertEq(SOME_WORD, await test.loadWord(buffer, 2), 'word 2048 after all came home');
  await test.assertPtr(buffer, index);
}

/** The same for holes and the huge zero page. */
async function migrateAnonHugeZeroErr(test: HmmTest): Promise<void> {
  const buffer = await hugeBuffer(test, { prot: PROT_READ });
  await failAlloc(test, buffer);
  await migrate(test, buffer);
  await test.assertMirror(buffer, zero);
  test.assertEq(0, await test.loadWord(buffer, 2), 'word 2048');
  await remap(test, buffer, PROT_READ);
  test.assertEq(0, await test.loadWord(buffer, 0), 'first word');
  await test.assertWhere(buffer, 'z'.repeat(PMD_PAGES));
  await failAlloc(test, buffer);
  await migrate(test, buffer);
  await test.assertPtr(buffer, zero);
}

/** A fresh mapping takes the place of the old one. */
async function remap(test: HmmTest, buffer: HmmBuffer, prot: number): Promise<void> {
  await test.process.munmap(buffer.ptr, PMD_SIZE);
  await mapHuge(test, buffer, { prot });
}

/** A snapshot says of each page of a huge one that a PMD entry maps it. */
async function compound(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(PMD_PAGES, { flags: HUGETLB });
  await test.fill(buffer, index);
  await assertSnapshot(test, buffer, HMM_DMIRROR_PROT_WRITE + HMM_DMIRROR_PROT_PMD);
  await test.protect(buffer, PROT_READ);
  await assertSnapshot(test, buffer, HMM_DMIRROR_PROT_READ + HMM_DMIRROR_PROT_PMD);
}

/** Ends the test unless SNAPSHOT has the same byte for every page. */
async function assertSnapshot(test: HmmTest, buffer: HmmBuffer, byte: number): Promise<void> {
  const { npages } = buffer;
  await test.cmdOk(test.fd, 'SNAPSHOT', buffer, npages);
  const bytes = await test.process.read(buffer.mirror, npages);
  const expected = Array.from({ length: npages }, () => byte);
  test.assertBytes(expected, bytes, 'protections');
}

/** A test that is no part of the list which runs without a filter. */
function extra(
  name: string,
  features: readonly number[],
  run: (test: HmmTest) => Promise<void>,
): Selftest {
  return { fixture: 'hmm', name, features, run };
}

export const ANON_WRITE_HUGE = extra('anon_write_huge', [], anonWriteHuge);
export const ANON_WRITE_HUGETLBFS = extra('anon_write_hugetlbfs', [115], anonWriteHugetlbfs);
export const COMPOUND = extra('compound', [82, 115], compound);

/** In the kernel's order. */
export const HUGE_TESTS: readonly Selftest[] = [
  extra('migrate_anon_huge_empty', [110], migrateAnonHugeEmpty),
  extra('migrate_anon_huge_zero', [110], migrateAnonHugeZero),
  extra('migrate_anon_huge_free', [104, 109], migrateAnonHugeFree),
  extra('migrate_anon_huge_fault', [76, 82, 109], migrateAnonHugeFault),
];

export const HUGE_ERR_TESTS: readonly Selftest[] = [
  extra('migrate_anon_huge_err', [112, 114], migrateAnonHugeErr),
  extra('migrate_anon_huge_zero_err', [110], migrateAnonHugeZeroErr),
];
