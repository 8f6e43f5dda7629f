/**
 * What things cost on the virtual clock. Every term can be changed, and is part of each result.
 *
 * Two styles, as the published measurements have them: 'fault', where each far fault costs a fixed
 * time and its transfer by a bandwidth curve, one after the other (UVMSmart's simulator); 'batch',
 * where a batch of faults costs a fixed time and a time per KiB (measured on NVIDIA's driver).
 */

/** How faults are charged. */
export type CostStyle = 'fault' | 'batch';

/** All terms; times in µs. */
export interface CostModel {
  /** A far fault, without its transfer ('fault'): 66,645 cycles at 1.481 GHz. */
  readonly farFaultUs: number;
  /** A batch without prefetched pages ('batch'): SC'21, stream. */
  readonly batchUs: number;
  readonly batchPerKibUs: number;
  /** A batch with prefetched pages. */
  readonly prefetchBatchUs: number;
  readonly prefetchPerKibUs: number;
  /** Fetching, merging and sorting one raw fault record ('batch'): fits the batch-limit sweep. */
  readonly recordUs: number;
  /** What pages that come for the first time add, times the rest ('batch'): 60 % of the batch. */
  readonly firstTouch: number;
  /** What each evicted block costs besides the transfer ('batch'): 200 µs with a full block. */
  readonly evictBlockUs: number;
  /** Sending a replay. */
  readonly replayUs: number;
  /** A CPU fault on a device page, without its transfer. */
  readonly cpuFaultUs: number;
  /** The device's work on a page that is there: fits the logs of ISCA'19. */
  readonly accessUs: number;
  /** What an access over the link costs more: a round trip of PCIe. */
  readonly remoteUs: number;
  /** Setting up a managed allocation and a launch: the flat part of SC'21's size sweep. */
  readonly setupUs: number;
  /** An explicit copy: its start and its bandwidth, GB/s of 10^9 bytes. */
  readonly explicitUs: number;
  readonly explicitGBs: number;
  /** Bandwidth of a transfer of x KiB: (gibs * 2 / pi) * atan(knee * x) GiB/s. */
  readonly linkGiBs: number;
  readonly linkKnee: number;
  /** A copy command of the copy engine, and bandwidth inside it, GB/s of 10^9 bytes. */
  readonly commandUs: number;
  readonly commandGBs: number;
}

/** Defaults; where each comes from is in docs/device-faults.md. */
export const COST_MODEL: CostModel = {
  farFaultUs: 45,
  batchUs: 40,
  batchPerKibUs: 0.7,
  prefetchBatchUs: 80,
  prefetchPerKibUs: 0.21,
  recordUs: 0.2,
  firstTouch: 1.5,
  evictBlockUs: 37,
  replayUs: 30,
  cpuFaultUs: 15,
  accessUs: 0.25,
  remoteUs: 1.3,
  setupUs: 560,
  explicitUs: 10,
  explicitGBs: 13,
  linkGiBs: 12,
  linkKnee: 0.07292,
  commandUs: 1,
  commandGBs: 12,
};

/** A cost model that can't be, in words for the user. */
export class CostError extends Error {
  override readonly name = 'CostError';
}

/**
 * The time of one transfer over the link, by UVMSmart's curve: 4 KiB in 1.76 µs, 2 MiB in 163 µs.
 *
 * @param bytes size of the transfer; 0 takes no time
 * @returns µs
 *
 * Context: pure. Source: gpgpu-sim_UVMSmart's PCIe model.
 */
export function linkUs(cost: CostModel, bytes: number): number {
  if (bytes === 0) return 0;
  const gibs = ((cost.linkGiBs * 2) / Math.PI) * Math.atan((cost.linkKnee * bytes) / 1024);
  return (bytes / (gibs * 2 ** 30)) * 1e6;
}

/** The time of copying so many bytes by hand, the program stopped meanwhile, µs. */
export function explicitCopyUs(cost: CostModel, bytes: number): number {
  return cost.explicitUs + bytes / (cost.explicitGBs * 1e3);
}

/** The time of copying pages by commands of at most `pagesPerCommand` each, µs. */
export function commandsUs(cost: CostModel, pages: number, pagesPerCommand: number): number {
  const commands = Math.ceil(pages / pagesPerCommand);
  return commands * cost.commandUs + (pages * 4096) / (cost.commandGBs * 1e3);
}

/**
 * The default cost model with some terms changed.
 *
 * @param input a plain object from outside
 * @throws CostError that names the term
 */
export function readCostModel(input: unknown): CostModel {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new CostError('the cost model must be an object, {"farFaultUs": 45, ...}');
  }
  for (const [name, value] of Object.entries(input)) {
    if (!(name in COST_MODEL)) {
      throw new CostError(
        `knows no cost '${name}'; costs are ${Object.keys(COST_MODEL).join(', ')}`,
      );
    }
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
      throw new CostError(`cost ${name} must be a number, 0 or more, not ${JSON.stringify(value)}`);
    }
    if (value === 0 && /GBs|GiBs|Knee/.test(name)) {
      throw new CostError(`cost ${name} must be more than 0`);
    }
  }
  return { ...COST_MODEL, ...input };
}
