/*
 * The selftests on Dawn, in this thread: device memory is GPU buffers.
 */
import { bootMachine } from '../../src/index.ts';
import { SELFTEST_MACHINE } from '../selftests/harness.ts';
import { declareSelftests } from '../selftests/vitest-cases.ts';

declareSelftests(() => bootMachine({ ...SELFTEST_MACHINE, engine: 'webgpu' }));
