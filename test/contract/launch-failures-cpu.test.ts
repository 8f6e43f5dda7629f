/* Failures in the way of launches, on the CPU engine. */
import { describe } from 'vitest';
import { bootMachine } from '../../src/index.ts';
import { describeLaunchFailures } from './launch-failures-contract.ts';

describe('failures that are injected', () => describeLaunchFailures('cpu', bootMachine));
