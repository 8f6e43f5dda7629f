/*
 * Kernels over a process's memory under every policy, on the CPU engine.
 */
import { describeVmService } from './vm-service-contract.ts';

describeVmService('cpu');
