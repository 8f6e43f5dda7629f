/*
 * Opens kernels over virtual memory on this environment's WebGPU.
 */
import { openDevice } from '../../src/gpu/adapter.ts';
import type { OpenedDevice } from '../../src/gpu/adapter.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import type { VmHarness } from './vm-contract.ts';

/** Opens a device, or throws why there is none. */
export async function openForTest(): Promise<OpenedDevice> {
  const opened = await openDevice({});
  if (!('device' in opened)) throw new Error(`${opened.cause} ${opened.remedy}`);
  return opened;
}

/** A harness of the WebGPU engine. */
export function gpuVmHarness(name: string): VmHarness {
  let opened: OpenedDevice | undefined;
  return {
    name,
    open: async (frames) => {
      opened = await openForTest();
      return new GpuVmEngine(opened.device, frames);
    },
    close: () => opened?.device.destroy(),
  };
}
