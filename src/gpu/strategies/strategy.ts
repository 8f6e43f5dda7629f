/*
 * What a strategy is: a way to record the segments of a flight into a command encoder. It does not
 * decide what moves, or when; the planner and the launcher do.
 *
 * A strategy that has no way for a direction leaves its function out, and the engine refuses lists
 * that need it with EINVAL.
 */
import type { EngineStats, StrategyName } from '../../engine/copy-engine.ts';
import type { FlightPlan } from '../flight-plan.ts';
import type { HostCopier } from '../host-copier.ts';
import type { JobBuffer } from '../job-buffer.ts';
import type { KernelSet } from '../pipelines.ts';
import type { Vram } from '../vram.ts';

/** What never changes while an engine is open. */
export interface EncodeResources {
  readonly device: GPUDevice;
  readonly vram: Vram;
  readonly bounce: GPUBuffer;
  readonly sums: GPUBuffer;
  readonly jobs: JobBuffer;
  readonly kernels: KernelSet;
  readonly host: HostCopier;
  readonly stats: EngineStats;
}

/** One flight while it is recorded. The object is reused. */
export interface Recording {
  readonly resources: EncodeResources;
  encoder: GPUCommandEncoder;
  plan: FlightPlan;
  /** Staging buffers; null where the plan needs none. */
  upload: GPUBuffer | null;
  readback: GPUBuffer | null;
}

/** See the file header. */
export interface Strategy {
  readonly name: StrategyName;
  /** Whether rows should come sorted by VRAM frame. */
  readonly sortsRows: boolean;
  /** Whether moves inside an arena need no room in the bounce buffer. */
  readonly movesInPlace: boolean;
  /** Whether uploads go through an upload slot, filled before `upload` is called. */
  readonly stagesUploads: boolean;
  /** RAM to VRAM. */
  readonly upload?: (recording: Recording) => void;
  /** VRAM to RAM: into the readback slot. */
  readonly download?: (recording: Recording) => void;
  /** VRAM to VRAM. */
  readonly move?: (recording: Recording) => void;
  /** Zero fill of VRAM. */
  readonly clear?: (recording: Recording) => void;
}

/** The strategy of each direction of one list. */
export interface StrategyChoice {
  readonly upload: Strategy;
  readonly download: Strategy;
  readonly move: Strategy;
  readonly clear: Strategy;
}
