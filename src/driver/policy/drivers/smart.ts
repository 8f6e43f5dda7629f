/**
 * UVMSmart (gpgpu-sim_UVMSmart; ISCA'19, IPDPS'20): prefetchers none, random, SL (64 KiB) and TBN,
 * another one under pressure, any order of eviction, and remote access until a group has been used
 * often enough to be worth moving.
 */
import type { Prng } from '../../../base/prng.ts';
import { Prng as Generator } from '../../../base/prng.ts';
import { BLOCK_PAGES, GROUP_PAGES, GROUP_SHIFT, blockStart, groupStart } from '../block.ts';
import { makeEviction } from '../eviction.ts';
import type { EvictionName, EvictionOrder } from '../eviction.ts';
import { fillNeighbourhood, randomNeighbour } from '../neighbourhood.ts';
import { ACCESS_COUNTER, ACCESS_WRITE, ON_DEVICE } from '../policy.ts';
import type {
  Cause,
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicySetup,
  PolicyView,
  ServiceTraits,
  VictimRequest,
  Victims,
} from '../policy.ts';

export const SMART_PREFETCHERS = ['none', 'random', 'sl64k', 'tbn'] as const;
export type SmartPrefetcher = (typeof SMART_PREFETCHERS)[number];

/**
 * When pages are used over the link first: never; until they were used `ts` times; that only once
 * memory is full; or by a threshold that grows with occupancy and round trips.
 */
export const REMOTE_MODES = ['disabled', 'always', 'oversub', 'adaptive'] as const;
export type RemoteMode = (typeof REMOTE_MODES)[number];

/** Parameters, as the simulator names them. */
export interface SmartOptions {
  readonly prefetch: SmartPrefetcher;
  /** The prefetcher once memory has been full. */
  readonly pressurePrefetch: SmartPrefetcher;
  readonly evict: EvictionName;
  /** Share of the list that eviction passes over, 0 to 1. */
  readonly reserve: number;
  readonly remote: RemoteMode;
  /** Static threshold of remote uses (8), and the penalty of a round trip (2). */
  readonly ts: number;
  readonly penalty: number;
}

export const SMART_OPTIONS: SmartOptions = {
  prefetch: 'tbn',
  pressurePrefetch: 'tbn',
  evict: 'lru2m',
  reserve: 0,
  remote: 'disabled',
  ts: 8,
  penalty: 2,
};

/** UVMSmart's policies. */
export class SmartPolicy implements FaultPolicy {
  readonly name: string;
  readonly source = "gpgpu-sim_UVMSmart: ISCA'19 (prefetch, eviction), IPDPS'20 (remote access)";
  readonly constants: Readonly<Record<string, number | string | boolean>>;
  readonly service: Partial<ServiceTraits>;
  readonly touched: FaultPolicy['touched'];
  readonly remoteLimit: FaultPolicy['remoteLimit'];
  private readonly options: SmartOptions;
  private readonly eviction: EvictionOrder;
  private readonly prng: Prng;
  private readonly valid = new Uint8Array(BLOCK_PAGES);
  private readonly out = new Uint8Array(BLOCK_PAGES);
  /** Times that each 64 KiB group was evicted. */
  private readonly roundTrips: Uint16Array;
  private wasFull = false;

  constructor(name: string, setup: PolicySetup, options: Partial<SmartOptions> = {}) {
    this.name = name;
    this.options = { ...SMART_OPTIONS, ...options };
    this.constants = { ...this.options };
    const isRemote = this.options.remote !== 'disabled';
    // Far faults are served one by one; the simulated device reaches all of RAM without any.
    this.service = {
      batchLimit: 1,
      replay: 'ack',
      coalesce: false,
      costs: 'fault',
      mapsAhead: isRemote,
    };
    this.eviction = makeEviction(this.options.evict, setup, this.options.reserve);
    this.prng = new Generator(setup.seed).fork('prefetch');
    this.roundTrips = new Uint16Array(setup.pageCount >>> GROUP_SHIFT);
    this.touched = this.eviction.seesAccesses
      ? (page: number): void => this.eviction.touched(page)
      : undefined;
    this.remoteLimit = isRemote ? (page, view): number => this.limit(page, view) : undefined;
  }

  /** Uses of a group over the link after which it is worth moving. */
  private limit(page: number, view: PolicyView): number {
    const { remote, ts, penalty } = this.options;
    if (remote === 'always') return ts;
    if (remote === 'oversub') return this.wasFull ? ts : 0;
    const occupancy = 1 - view.freePages / view.devicePages;
    return this.wasFull
      ? ts * penalty * (this.roundTrips[page >>> GROUP_SHIFT]! + 1)
      : Math.floor(1 + ts * occupancy);
  }

  onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
    const start = blockStart(faults.pages[0]!);
    if (this.prefetcher !== 'none') this.look(start, view);
    for (let i = 0; i < faults.count; i++) {
      const page = faults.pages[i]!;
      const access = faults.access[i]!;
      const isNeeded = access >= ACCESS_WRITE || access === ACCESS_COUNTER;
      const limit = this.remoteLimit?.(page, view) ?? 0;
      if (!isNeeded && limit > 0) answer.remote(page);
      else this.fetchAround(page, start, view, answer);
    }
    if (this.prefetcher === 'none') return;
    for (let at = 0; at < BLOCK_PAGES; at++) if (this.out[at] === 1) answer.migrate(start + at);
  }

  /** The prefetcher by now. */
  private get prefetcher(): SmartPrefetcher {
    const { prefetch, pressurePrefetch } = this.options;
    return this.wasFull ? pressurePrefetch : prefetch;
  }

  /** Notes what of a block is on the device. */
  private look(start: number, view: PolicyView): void {
    for (let at = 0; at < BLOCK_PAGES; at++) {
      this.valid[at] = (view.where[start + at]! & ON_DEVICE) === 0 ? 0 : 1;
    }
    this.out.fill(0);
  }

  /** Marks what comes with a fault. */
  private fetchAround(page: number, start: number, view: PolicyView, answer: Decisions): void {
    const how = this.prefetcher;
    answer.migrate(page);
    if (how === 'none') return;
    if (this.valid[page - start] === 1) return;
    const region = view.regionOf(page)!;
    const first = Math.max(region.first, start) - start;
    const outer = Math.min(region.outer, start + BLOCK_PAGES) - start;
    const at = page - start;
    if (how === 'tbn') {
      fillNeighbourhood(this.valid, at, first, outer, this.out);
      return;
    }
    const group = groupStart(at);
    const from = how === 'sl64k' ? Math.max(first, group) : at;
    const to = how === 'sl64k' ? Math.min(outer, group + GROUP_PAGES) : at + 1;
    this.out.fill(1, from, to);
    this.valid.fill(1, from, to);
    if (how !== 'random') return;
    const other = randomNeighbour(this.valid, first, outer, this.prng);
    if (other >= 0) this.out[other] = this.valid[other] = 1;
  }

  chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
    this.wasFull = true;
    this.eviction.choose(request, view, victims);
  }

  arrived(page: number, _cause: Cause, view: PolicyView): void {
    this.eviction.arrived(page, view);
  }

  left(page: number, cause: Cause, view: PolicyView): void {
    this.eviction.left(page, view);
    // Counted once per group, with its first page.
    if (cause === 'eviction' && page === groupStart(page)) this.roundTrips[page >>> GROUP_SHIFT]!++;
  }
}
