/*
 * Recorded traces and real runs on WebGPU.
 */
import { describeVmTraces } from '../contract/vm-trace-contract.ts';

describeVmTraces('webgpu');
