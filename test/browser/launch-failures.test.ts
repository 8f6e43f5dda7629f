/* Failures in the way of launches, in Chromium: the kernel worker is a thread of its own. */
import { describe } from 'vitest';
import { Machine } from '../../src/index.ts';
import { describeLaunchFailures } from '../contract/launch-failures-contract.ts';

describe('failures that are injected', () =>
  describeLaunchFailures('webgpu', (options) => Machine.create(options), [undefined, 'uvm']));
