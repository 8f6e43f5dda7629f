/**
 * The interface of fault policies: what a policy sees and what it answers. Every driver's policy
 * here has it, and so has a user's own, whether a recorded trace or a device raises the faults.
 *
 * A policy decides and changes nothing itself. It is called for the faults of one 2 MiB block at a
 * time, answers which pages go where, names victims when memory is short, and hears of what came of
 * it. It reads no clock but the virtual one, and the same calls give the same answers.
 *
 * Pages are numbers over all address spaces of a run; an address space begins at a block.
 */
import type { CostStyle } from './cost-model.ts';

/** How a device reaches for a page, in the order of the permission that it takes. */
export const ACCESS_PREFETCH = 0;
/** A load. */
export const ACCESS_READ = 1;
/** A store. */
export const ACCESS_WRITE = 2;
/** An atomic that may be done as load and store under exclusive ownership. */
export const ACCESS_ATOMIC = 3;
/** An atomic that has to be atomic to every processor. */
export const ACCESS_STRONG = 4;
/** An access-counter notification: a page that is used remotely has been used often. */
export const ACCESS_COUNTER = 5;

/** Where a page is: bits; 0 means that nobody has touched it. */
export const IN_RAM = 1;
/** In memory of the device. */
export const ON_DEVICE = 2;

/** Where a user wants pages: nowhere in particular, in RAM, or on the device. */
export type Preference = 'none' | 'ram' | 'device';

/** What a user has said about a range, as madvise-like hints. */
export interface Hints {
  readonly preferred: Preference;
  /** The device shall keep a mapping wherever the pages are. */
  readonly accessedBy: boolean;
  /** Pages may be in RAM and on the device at once, until somebody writes; in the model alone. */
  readonly readMostly: boolean;
  /** log2 of the pages that migrate together (kfd), 0 to 31; 9 there by default. */
  readonly granularity: number;
}

/** The parts of a hint. */
export const HINT_NAMES = ['preferred', 'accessedBy', 'readMostly', 'granularity'] as const;

/** A program that has said nothing. */
export const NO_HINTS: Hints = {
  preferred: 'none',
  accessedBy: false,
  readMostly: false,
  granularity: 9,
};

/** A range of pages with one set of permissions and hints: a VMA. */
export interface Region {
  readonly first: number;
  /** One past the last page. */
  readonly outer: number;
  /** The address space, from 0. */
  readonly context: number;
  readonly isWritable: boolean;
  /** False where pages can't leave RAM, as those of files. */
  readonly isMigratable: boolean;
  readonly hints: Hints;
}

/** The faults of one block that need service: distinct pages, ascending. */
export interface FaultGroup {
  readonly block: number;
  readonly context: number;
  readonly count: number;
  /** Pages; the first `count` entries. */
  readonly pages: Int32Array;
  /** The highest access to each page. */
  readonly access: Uint8Array;
  /** The workgroup whose fault stands for the others. */
  readonly workgroups: Int32Array;
}

/**
 * What a policy may look at. Arrays have an entry per page; they are not to be written. A user's
 * policy gets copies that keep up.
 */
export interface PolicyView {
  /** Pages that there are now: on a machine memory may be mapped later, up to PolicySetup's. */
  readonly pageCount: number;
  /** Where each page is: IN_RAM, ON_DEVICE, both, or 0. */
  readonly where: Readonly<Uint8Array>;
  /** The highest access that the device's page table allows; 0 for none. */
  readonly mapped: Readonly<Uint8Array>;
  /** 1 where the device maps a page in RAM. */
  readonly remote: Readonly<Uint8Array>;
  /** Pages of device memory, and how many are free. */
  readonly devicePages: number;
  readonly freePages: number;
  /** The virtual clock, µs. */
  readonly nowUs: number;
  /** Pages of a block that are on the device. */
  residentIn(block: number): number;
  /** The region of a page, or undefined. */
  regionOf(page: number): Region | undefined;
  /** Whether the batch in service has used the page: then it can't be a victim. */
  isProtected(page: number): boolean;
}

/** Why a page came to the device or left it. */
export type Cause = 'fault' | 'prefetch' | 'counter' | 'eviction' | 'cpu' | 'user';

/** What a policy answers to faults. Pages that did not fault may be named, too: prefetch. */
export interface Decisions {
  /** Move the page to the device. */
  migrate(page: number): void;
  /** Leave it where it is, mapped remotely by the device. */
  remote(page: number): void;
  /** As `remote`, because it is pinned there. */
  pin(page: number): void;
  /** Copy it to the device, and keep it in RAM for reading; on a machine it moves. */
  duplicate(page: number): void;
  /** Do nothing now: the fault comes back with the next replay. */
  throttle(page: number): void;
}

/** How much room is needed. */
export interface VictimRequest {
  /** Pages to free at least. */
  readonly pages: number;
}

/** What a policy answers when memory is short; pages in the order in which they go. */
export interface Victims {
  /** Sends a page home. */
  evict(page: number): void;
  /** Pages named so far. */
  readonly count: number;
}

/**
 * When a batch's faults are replayed: four ways of uvm_perf_fault_replay_policy; and 'ack', where
 * each fault is answered by itself and all others go on waiting (xe, kfd, UVMSmart).
 */
export const REPLAYS = ['block', 'batch', 'batch-flush', 'once', 'ack'] as const;
/** When the device may try its faulted accesses again. */
export type ReplayPolicy = (typeof REPLAYS)[number];

/** How faults are fetched and replayed for a policy. */
export interface ServiceTraits {
  /** Raw fault records per batch (256). */
  readonly batchLimit: number;
  readonly replay: ReplayPolicy;
  /** Batches after which a pass ends (20), and those among them with throttled faults (5). */
  readonly batchesPerPass: number;
  readonly throttledPerPass: number;
  /** Whether equal records are merged while they are fetched. */
  readonly coalesce: boolean;
  /** Whether a fault group is moved whole or not at all. */
  readonly allOrNothing: boolean;
  /** Whether mapping a page in RAM costs no fault, because the device reaches all of RAM. */
  readonly mapsAhead: boolean;
  /**
   * Whether a block takes a whole chunk of 2 MiB with its first page (UVM); not on devices of less
   * than WHOLE_BLOCK_MIN pages.
   */
  readonly wholeBlocks: boolean;
  readonly costs: CostStyle;
}

/** Pages of the smallest device on which chunks of 2 MiB are given out whole: four of them. */
export const WHOLE_BLOCK_MIN = 2048;

/** The defaults of NVIDIA's UVM driver. */
export const UVM_SERVICE: ServiceTraits = {
  batchLimit: 256,
  replay: 'batch-flush',
  batchesPerPass: 20,
  throttledPerPass: 5,
  coalesce: true,
  allOrNothing: false,
  mapsAhead: false,
  wholeBlocks: false,
  costs: 'batch',
};

/** A placement policy. Only the first three are needed. */
export interface FaultPolicy {
  readonly name: string;

  /**
   * Answers the faults of a block. Each page of `faults` has to get an answer.
   *
   * @param answer takes the answers; the last one for a page counts
   */
  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void;

  /**
   * Names pages to send home. Pages that the batch in service uses are ignored, and so are pages
   * that are not on the device. Too few victims mean that faults are served from RAM.
   */
  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void;

  /** Where the policy comes from, for people. */
  readonly source?: string;
  /** Its constants, for people and for the result of a run. */
  readonly constants?: Readonly<Record<string, number | string | boolean>>;
  /** How its driver fetches and replays faults, where that differs from UVM_SERVICE. */
  readonly service?: Partial<ServiceTraits>;

  /** A page came to the device. */
  arrived?(page: number, cause: Cause, view: PolicyView): void;
  /** A page left the device. */
  left?(page: number, cause: Cause, view: PolicyView): void;
  /** The device used a page that it maps. Costs time in every access; most drivers don't see it. */
  readonly touched?: ((page: number, access: number, view: PolicyView) => void) | undefined;
  /**
   * How often a page may be used remotely before it faults as ACCESS_COUNTER. Without it: for ever.
   */
  readonly remoteLimit?: ((page: number, view: PolicyView) => number) | undefined;
  /**
   * The CPU faults on a page that is on the device. `migrate` names pages that go to RAM,
   * `throttle` makes the CPU wait, `remote` and `pin` leave the page where it is, where the CPU can
   * reach it. Without it the page alone goes home.
   */
  onCpuFault?(page: number, access: number, view: PolicyView, answer: Decisions): void;
  /**
   * Whether a page that no CPU has faulted on stays on the device for now: nothing takes it home
   * for another page's sake, and commands that would wait. Evictions do not ask.
   */
  readonly keeps?: ((page: number, view: PolicyView) => boolean) | undefined;
}

/** A policy for a run: policies have state, so each run gets its own. */
export interface PolicySetup {
  /** Pages that there may ever be. */
  readonly pageCount: number;
  readonly devicePages: number;
  readonly seed: number;
}
/** Makes a policy for one run. */
export type PolicyFactory = (setup: PolicySetup) => FaultPolicy;

/** A policy threw, or answered what can't be. It ends the run it belongs to, and no other. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  /** The policy and the call that failed. */
  readonly policy: string;
  readonly call: string;

  constructor(policy: string, call: string, what: string, cause?: unknown) {
    super(`policy ${policy}, ${call}: ${what}`, cause === undefined ? undefined : { cause });
    this.policy = policy;
    this.call = call;
  }
}
