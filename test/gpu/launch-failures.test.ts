/* Failures in the way of launches, on Dawn. */
import { describe } from 'vitest';
import { bootMachine } from '../../src/index.ts';
import { describeLaunchFailures } from '../contract/launch-failures-contract.ts';

describe('failures that are injected', () => describeLaunchFailures('webgpu', bootMachine));
