/*
 * Recorded traces and real runs on the CPU engine.
 */
import { describeVmTraces } from './vm-trace-contract.ts';

describeVmTraces('cpu');
