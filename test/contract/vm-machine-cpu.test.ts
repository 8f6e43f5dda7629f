/*
 * Kernels over a process's memory on the CPU engine.
 */
import { describeVmBlocks } from './vm-blocks-contract.ts';
import { describeVmContexts } from './vm-contexts-contract.ts';
import { describeVmMachine } from './vm-machine-contract.ts';

describeVmMachine('cpu');
describeVmContexts('cpu');
describeVmBlocks('cpu');
