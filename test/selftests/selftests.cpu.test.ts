/*
 * The selftests on the CPU engine, in this thread: what moves pages here is plain code.
 */
import { bootMachine } from '../../src/index.ts';
import { SELFTEST_MACHINE } from './harness.ts';
import { declareSelftests } from './vitest-cases.ts';

declareSelftests(() => bootMachine({ ...SELFTEST_MACHINE, engine: 'cpu' }));
