/*
 * Kernels over pages that stay in RAM, on the CPU engine.
 */
import { describeAperture } from './aperture-contract.ts';
import { describeRemoteUses } from './remote-uses-contract.ts';

describeAperture('cpu');
describeRemoteUses('cpu');
