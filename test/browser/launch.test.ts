/*
 * Kernels through the facade in Chromium: the kernel worker is a thread of its own.
 */
import { Machine } from '../../src/index.ts';
import { describeBadLaunches } from '../contract/launch-bad-contract.ts';
import { describeLaunches } from '../contract/launch-contract.ts';

describeLaunches('webgpu', (options) => Machine.create(options));
describeBadLaunches('webgpu', (options) => Machine.create(options));
