/*
 * Kernels over a process's memory under every policy, on WebGPU.
 */
import { describeVmService } from '../contract/vm-service-contract.ts';

describeVmService('webgpu');
