/*
 * The selftests in Chromium, as a page would run them: the kernel lives in a worker of its own, and
 * its device memory is GPU buffers.
 */
import { Machine } from '../../src/index.ts';
import { SELFTEST_MACHINE } from '../selftests/harness.ts';
import { declareSelftests } from '../selftests/vitest-cases.ts';

declareSelftests(() => Machine.create({ ...SELFTEST_MACHINE, engine: 'webgpu' }));
