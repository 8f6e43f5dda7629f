/*
 * Kernels over a process's memory on WebGPU: migration and kernels work on the same arena.
 */
import { describeVmBlocks } from '../contract/vm-blocks-contract.ts';
import { describeVmContexts } from '../contract/vm-contexts-contract.ts';
import { describeVmMachine } from '../contract/vm-machine-contract.ts';

describeVmMachine('webgpu');
describeVmContexts('webgpu');
describeVmBlocks('webgpu');
