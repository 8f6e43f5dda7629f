/*
 * Kernels through the facade on Dawn, in this thread.
 */
import { bootMachine } from '../../src/index.ts';
import { describeBadLaunches } from '../contract/launch-bad-contract.ts';
import { describeLaunches } from '../contract/launch-contract.ts';

describeLaunches('webgpu', bootMachine);
describeBadLaunches('webgpu', bootMachine);
