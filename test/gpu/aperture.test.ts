/*
 * Kernels over pages that stay in RAM, on WebGPU.
 */
import { describeAperture } from '../contract/aperture-contract.ts';

describeAperture('webgpu');
