/*
 * What programs and runs need of the engine that they belong to.
 */
import type { Errno } from '../../base/errno.ts';
import type { DeviceSpace } from '../../engine/vm/device-space.ts';

/** An engine as its programs see it. */
export interface GpuVmHost {
  readonly device: GPUDevice;
  /** All frames of device memory. */
  readonly arena: GPUBuffer;
  /** What every program and run binds. */
  readonly bindings: GPUBindGroupLayout;
  /** Collects the stops of a pass. */
  readonly collect: GPUComputePipeline;
  /** Whether the device is gone. */
  readonly isLost: boolean;
  /** Why a pass did not come to its end: ENODEV for a lost device, else EIO. Waits for news. */
  whatFailed(): Promise<Errno>;
  /** A context's page table on the device, made at its first use. */
  tableOf(space: DeviceSpace): GPUBuffer;
}
