/*
 * Kernels through the facade on the CPU engine, in this thread.
 */
import { bootMachine } from '../../src/index.ts';
import { describeBadLaunches } from './launch-bad-contract.ts';
import { describeLaunches } from './launch-contract.ts';

describeLaunches('cpu', bootMachine);
describeBadLaunches('cpu', bootMachine);
