/*
 * Kernel tests of huge pages (hmm-tests.c). They are no part of the first fourteen and run where a
 * filter asks for them.
 *
 * The kernel skips those of hugetlb without a free page of the default size; the pool here grows
 * when it is asked.
 */
import {
  HMM_DMIRROR_PROT_PMD,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  MAP_ANONYMOUS,
  MAP_HUGETLB,
  MAP_PRIVATE,
  PMD_SIZE,
  PAGE_SIZE,
  PROT_READ,
} from '../../src/index.ts';
import { index } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const PMD_PAGES = PMD_SIZE / PAGE_SIZE;
const HUGETLB = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;

/** A device write to an untouched huge page of hugetlb makes it. */
async function anonWriteHugetlbfs(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(PMD_PAGES, { flags: HUGETLB });
  await test.fillMirror(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'WRITE', buffer, buffer.npages, { faults: 1 });
  await test.assertCounted(before, { htlb_buddy_alloc_success: 1 }, 'of the device write');
  await test.assertPtr(buffer, index);
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
  test.assertBytes(
    Array.from({ length: npages }, () => byte),
    bytes,
    'protections',
  );
}

export const ANON_WRITE_HUGETLBFS: Selftest = {
  fixture: 'hmm',
  name: 'anon_write_hugetlbfs',
  features: [115],
  isExtra: true,
  run: anonWriteHugetlbfs,
};

export const COMPOUND: Selftest = {
  fixture: 'hmm',
  name: 'compound',
  features: [82, 115],
  isExtra: true,
  run: compound,
};
