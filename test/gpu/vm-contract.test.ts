/*
 * The contract of kernels over virtual memory on WebGPU, in Node through Dawn.
 */
import { describeVmEngine } from '../contract/vm-contract.ts';
import { gpuVmHarness } from '../contract/vm-gpu-harness.ts';

describeVmEngine(gpuVmHarness('Dawn'));
