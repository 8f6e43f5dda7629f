/*
 * The kernel's test of GUP on device memory (hmm-tests.c: hmm_gup_test).
 *
 * Where the kernel's test goes through the gup_test driver, which gives the pages back before its
 * ioctl returns, this one takes and gives them back itself.
 */
import {
  FOLL_LONGTERM,
  FOLL_WRITE,
  HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL,
  HMM_DMIRROR_PROT_WRITE,
  PAGE_SIZE,
} from '../../src/index.ts';
import type { UserPages } from '../../src/index.ts';
import { index } from './hmm-test.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const GUP_PAGES = 4;

/**
 * Each way of taking a page brings it home from private device memory. Coherent memory can stay
 * where it is, unless the pin is for long.
 */
async function hmmGupTest(test: HmmTest): Promise<void> {
  const { process } = test;
  const buffer = await test.buffer(GUP_PAGES);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, GUP_PAGES);
  await test.assertMirror(buffer, index);
  await test.assertWhere(buffer, '0000');
  const before = await test.counts();
  const at = (page: number): number => buffer.ptr + page * PAGE_SIZE;
  await takeOne(test, process.getUserPages(at(0), 1, FOLL_WRITE), 'GUP_BASIC_TEST');
  await takeOne(test, process.getUserPagesFast(at(1), 1, FOLL_WRITE), 'GUP_FAST_BENCHMARK');
  const longterm = FOLL_WRITE | FOLL_LONGTERM;
  await takeOne(test, process.pinUserPagesFast(at(2), 1, longterm), 'PIN_FAST_BENCHMARK');
  await takeOne(test, process.pinUserPages(at(3), 1, longterm), 'PIN_LONGTERM_BENCHMARK');
  const { isCoherent } = test;
  const counts = { device_private_fault: isCoherent ? 0 : 4, pgmigrate_to_ram: isCoherent ? 2 : 4 };
  await test.assertCounted(before, counts, 'of taking them');
  await test.assertWhere(buffer, isCoherent ? '00rr' : 'rrrr');
  await test.cmdOk(test.fd, 'SNAPSHOT', buffer, GUP_PAGES);
  const bytes = await process.read(buffer.mirror, GUP_PAGES);
  const write = HMM_DMIRROR_PROT_WRITE;
  const short = isCoherent ? HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL + write : write;
  const expected = [short, short, write, write];
  test.assertBytes(expected, bytes, 'protections');
  await test.assertPtr(buffer, index);
}

async function takeOne(test: HmmTest, taken: Promise<UserPages>, what: string): Promise<void> {
  const pages = await taken;
  test.assertEq(1, pages.npages, `pages of ${what}`);
  await pages.release();
}

export const HMM_GUP_TEST: Selftest = {
  fixture: 'hmm',
  name: 'hmm_gup_test',
  features: [60, 68],
  run: hmmGupTest,
};
