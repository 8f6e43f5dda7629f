/*
 * Kernels through the facade on Dawn, in this thread.
 */
import { bootMachine } from '../../src/index.ts';
import { describeLaunches } from '../contract/launch-contract.ts';

describeLaunches('webgpu', bootMachine);
