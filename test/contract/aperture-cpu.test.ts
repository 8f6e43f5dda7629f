/*
 * Kernels over pages that stay in RAM, on the CPU engine.
 */
import { describeAperture } from './aperture-contract.ts';

describeAperture('cpu');
