/*
 * What programs and runs need of the engine that they belong to.
 */
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
  /** A context's page table on the device, made at its first use. */
  tableOf(space: DeviceSpace): GPUBuffer;
}
