/*
 * The contract of kernels over virtual memory on the CPU engine.
 */
import { CpuVmEngine } from '../../src/engine/vm/cpu-vm.ts';
import { describeVmEngine } from './vm-contract.ts';

describeVmEngine({
  name: 'CPU',
  open: async (frames) => new CpuVmEngine(frames, 11),
  close: () => {},
});
