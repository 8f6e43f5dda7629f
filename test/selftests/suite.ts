/*
 * All selftests, in the order of the kernel's file (tools/testing/selftests/mm/hmm-tests.c), ours
 * after them.
 */
import { ACCESS_TESTS, LATER_ACCESS_TESTS } from './hmm-access.ts';
import { BENCHMARK_TESTS } from './hmm-benchmark.ts';
import { EXCLUSIVE_TESTS } from './hmm-exclusive.ts';
import { FILE_TESTS, MIXEDMAP } from './hmm-file.ts';
import { HMM_GUP_TEST } from './hmm-gup.ts';
import {
  ANON_WRITE_HUGE,
  ANON_WRITE_HUGETLBFS,
  COMPOUND,
  HUGE_ERR_TESTS,
  HUGE_TESTS,
} from './hmm-huge.ts';
import { MIGRATE_TESTS } from './hmm-migrate.ts';
import { REMAP_TESTS } from './hmm-remap.ts';
import { CHILD_TESTS, HMM_COW_IN_DEVICE } from './hmm-fork.ts';
import { HMM2_TESTS } from './hmm2.ts';
import { COUNT_TESTS } from './webhmm-counts.ts';
import { LIFE_TESTS } from './webhmm-life.ts';
import { RACE_TESTS } from './webhmm-races.ts';
import { UFFD_TESTS } from './hmm-uffd.ts';
import type { Selftest } from './selftest.ts';

export const SUITE: readonly Selftest[] = [
  ...ACCESS_TESTS,
  ...CHILD_TESTS,
  ANON_WRITE_HUGE,
  ANON_WRITE_HUGETLBFS,
  ...FILE_TESTS,
  ...MIGRATE_TESTS,
  ...LATER_ACCESS_TESTS,
  ...UFFD_TESTS,
  MIXEDMAP,
  COMPOUND,
  ...EXCLUSIVE_TESTS,
  HMM_GUP_TEST,
  HMM_COW_IN_DEVICE,
  ...HMM2_TESTS,
  ...HUGE_TESTS,
  ...REMAP_TESTS,
  ...HUGE_ERR_TESTS,
  ...BENCHMARK_TESTS,
  ...COUNT_TESTS,
  ...LIFE_TESTS,
  ...RACE_TESTS,
];
