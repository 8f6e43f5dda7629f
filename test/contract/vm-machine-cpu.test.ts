/*
 * Kernels over a process's memory on the CPU engine.
 */
import { describeVmMachine } from './vm-machine-contract.ts';

describeVmMachine('cpu');
