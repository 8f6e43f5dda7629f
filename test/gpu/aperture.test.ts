/*
 * Kernels over pages that stay in RAM, on WebGPU.
 */
import { describeAperture } from '../contract/aperture-contract.ts';
import { describeRemoteUses } from '../contract/remote-uses-contract.ts';

describeAperture('webgpu');
describeRemoteUses('webgpu');
