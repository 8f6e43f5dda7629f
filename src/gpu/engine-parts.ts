/* The parts of an engine: all memory that it will ever use. Source: our own. */
import type { AdapterReport, FrameGeometry } from '../engine/copy-engine.ts';
import type { HostCopiers } from '../engine/host-copiers.ts';
import type { HostMemory } from '../engine/host-jobs.ts';
import type { KernelStatus } from './kernel-status.ts';
import type { SlotRing } from './rings.ts';
import type { EncodeResources } from './strategies/strategy.ts';

/** The parts of an engine; `createWebGpuEngine` makes them. */
export interface EngineParts {
  /** Held because Dawn for Node aborts when it is collected before the device. */
  readonly gpu: GPU;
  readonly adapter: AdapterReport;
  readonly geometry: FrameGeometry;
  readonly resources: EncodeResources;
  readonly memory: HostMemory;
  readonly hostCopiers: HostCopiers | undefined;
  readonly uploads: SlotRing;
  readonly readbacks: SlotRing;
  readonly bouncePages: number;
  readonly status: KernelStatus;
  readonly checked: boolean;
  /** Flights in the air at most. */
  readonly flights: number;
}
