/**
 * The copy-engine port: what the device driver asks of whoever moves page contents. It stands for
 * the DMA engines of a GPU. Implementations: `CpuEngine` (the oracle) and `WebGpuEngine`.
 *
 * Frames. A frame number is a pfn. Frames below `hostFrames` are pages of the shared memory (RAM
 * and coherent device memory), frames from `hostFrames` on are VRAM, `vramFrames` of them. The two
 * never mix: only an engine moves bytes between them.
 *
 * Contract. A list is checked as a whole before anything is submitted; a bad one is refused with
 * EINVAL and `list.firstBad` names the entry. Jobs of a list are unordered. After submission each
 * job has its own done bit; when `submit` reports an error, jobs with the bit set did complete and
 * the others left their targets undefined, so that the caller can restore them. Lists submitted one
 * after the other are executed in that order, also when nobody waits in between.
 */
import type { MaybePromise } from '../base/maybe.ts';
import type { CommandList } from './command-list.ts';
import type { HostCopiers } from './host-copiers.ts';

/** How an engine moves the pages of a list. `auto` lets the engine choose. */
export type StrategyName =
  | 'auto'
  | 'commands'
  | 'staging'
  | 'runs'
  | 'compute'
  | 'writeBuffer'
  | 'cpu';

/** Which memory a frame number refers to. */
export interface FrameGeometry {
  /** Frames of the shared memory; frame numbers 0 to hostFrames - 1. */
  readonly hostFrames: number;
  /** Frames of device memory; numbers hostFrames to hostFrames + vramFrames - 1. */
  readonly vramFrames: number;
}

/** What moves the bytes, for every report that shows a number. */
export interface AdapterReport {
  /** "google", "nvidia", or "none" for the CPU engine. */
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** True when no graphics hardware is behind it; its figures are never a GPU's. */
  readonly isSoftware: boolean;
  /** The limits that shaped the engine (bytes, counts). */
  readonly limits: Readonly<Record<string, number>>;
  readonly features: readonly string[];
}

/** Running totals of an engine; plain numbers that only the engine writes. */
export interface EngineStats {
  /** Lists submitted, and jobs and pages in them. */
  lists: number;
  jobs: number;
  pages: number;
  /** Bytes that crossed from RAM to VRAM and back, each counted once. */
  bytesToDevice: number;
  bytesToHost: number;
  /** Bytes copied or cleared within the shared memory: RAM and coherent device memory. */
  bytesInHost: number;
  /** GPU commands: copies, dispatches, queue submissions, buffer maps. */
  copyCommands: number;
  dispatches: number;
  submissions: number;
  maps: number;
  /** Milliseconds of this thread: building commands, in queue.submit, copying RAM and staging. */
  encodeMs: number;
  submitMs: number;
  hostCopyMs: number;
  /** Milliseconds spent waiting for the device. */
  waitMs: number;
}

/** The port. See the file header for the contract. */
export interface CopyEngine {
  readonly name: 'cpu' | 'webgpu';
  readonly geometry: FrameGeometry;
  readonly adapter: AdapterReport;
  readonly stats: EngineStats;
  /** The strategies that `submit` accepts besides `auto`. */
  readonly strategies: readonly StrategyName[];
  /** How `auto` would move the rows of a list that take one route; the first row says which. */
  readonly pathOf?: (list: CommandList) => StrategyName;
  /** Threads that help with copies within the shared memory; the engine closes them. */
  readonly hostCopiers?: HostCopiers | undefined;
  /** True once the device is gone: VRAM contents are lost, each submit answers ENODEV. */
  readonly isLost: boolean;
  /** Resolves with a message when the device is lost; never rejects. */
  readonly lost: Promise<string>;

  /**
   * Executes the list and settles when every target is readable by its user: RAM by the CPU, VRAM
   * by later lists. The list must not be changed until then.
   *
   * @returns 0; EINVAL for a list that `checkCommandList` refuses or a strategy that does not fit a
   * job (nothing was submitted); ENODEV when the device is lost; EIO when the device failed.
   */
  submit(list: CommandList, strategy?: StrategyName): MaybePromise<number>;

  /**
   * Loses the device as a driver crash would (the WebGPU engine destroys its GPUDevice): VRAM
   * contents are gone, pending submits settle with ENODEV. For experiments and tests.
   */
  markLost(message: string): void;

  /** Releases the device. Pending submits settle with ENODEV. */
  close(): MaybePromise<void>;
}
