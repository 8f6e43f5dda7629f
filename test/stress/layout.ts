/*
 * The memory of a stress run: which regions there are, who shares them, and what each core is told
 * of them.
 */
import {
  MADV_HUGEPAGE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_SIZE,
  PMD_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { Machine, Process, TestDevice } from '../../src/index.ts';

const RW = PROT_READ | PROT_WRITE;

/** Pages of the regions. */
const WORD_PAGES = 32;
const SHARED_PAGES = 8;
const COUNTER_PAGES = 6;
const LOCK_PAGES = 4;
/** One large folio. */
const HUGE_PAGES = PMD_SIZE / PAGE_SIZE;
const BULK_PAGES_EACH = 16;
/** Counters of a page that cores add to; devices add to all of its words. */
export const COUNTER_SLOTS = 64;
/** Cores of the second process, which shares a mapping with the first and no private page. */
const SECOND_CORES = 1;

/** Pages of one kind; the shared ones have another address in each process. */
export interface Region {
  readonly name: string;
  readonly addr: number;
  readonly pages: number;
}

/** A region of words, whose writers take turns: word `w` is that of rank `w % sharers`. */
export interface WordRegion extends Region {
  readonly sharers: number;
  /** All cores write to it, or those of its process. */
  readonly isShared: boolean;
}

/** One process of a run. */
export interface StressProcess {
  readonly process: Process;
  readonly devices: readonly TestDevice[];
  /** Numbers of its cores. */
  readonly cores: readonly number[];
  /** Private words, those of a large folio, and those that both processes share. */
  readonly words: readonly WordRegion[];
  /** Private counters, then shared ones. */
  readonly counters: readonly Region[];
  readonly locks: readonly Region[];
  readonly bulk: WordRegion;
  /** Address of the word that ends the run. */
  readonly stop: number;
}

/** Objects that both processes map. */
interface SharedObjects {
  readonly words: number;
  readonly counters: number;
  readonly locks: number;
  readonly stop: number;
}

/** Two processes with that many cores together, 2 or more. */
export async function layOut(machine: Machine, cores: number): Promise<StressProcess[]> {
  const shmem = async (pages: number): Promise<number> =>
    (await machine.shmem(pages * PAGE_SIZE)).id;
  const shared: SharedObjects = {
    words: await shmem(SHARED_PAGES),
    counters: await shmem(COUNTER_PAGES),
    locks: await shmem(LOCK_PAGES),
    stop: await shmem(1),
  };
  const numbers = Array.from({ length: cores }, (_, i) => i);
  const first = numbers.slice(0, cores - SECOND_CORES);
  const second = numbers.slice(cores - SECOND_CORES);
  return [
    await layOutOne(machine, shared, first, cores),
    await layOutOne(machine, shared, second, cores),
  ];
}

async function layOutOne(
  machine: Machine,
  shared: SharedObjects,
  own: readonly number[],
  cores: number,
): Promise<StressProcess> {
  const process = await machine.spawn();
  const map = async (name: string, pages: number, object?: number): Promise<Region> => {
    const flags = object === undefined ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    const source = object === undefined ? {} : { shmem: object };
    const addr = await process.mmap({ length: pages * PAGE_SIZE, prot: RW, flags, ...source });
    return { name, addr, pages };
  };
  const sharers = own.length;
  const minors = machine.report.coherentDevices > 0 ? [0, 1, 2] : [0, 1];
  const devices: TestDevice[] = [];
  for (const minor of minors) devices.push(await process.openDevice(minor));
  return {
    process,
    devices,
    cores: own,
    words: [
      { ...(await map('private', WORD_PAGES)), sharers, isShared: false },
      { ...(await mapHuge(process)), sharers, isShared: false },
      { ...(await map('shared', SHARED_PAGES, shared.words)), sharers: cores, isShared: true },
    ],
    counters: [
      await map('private counters', COUNTER_PAGES),
      await map('shared counters', COUNTER_PAGES, shared.counters),
    ],
    locks: [
      await map('private locks', LOCK_PAGES),
      await map('shared locks', LOCK_PAGES, shared.locks),
    ],
    bulk: { ...(await map('bulk', BULK_PAGES_EACH * sharers)), sharers, isShared: false },
    stop: (await map('stop', 1, shared.stop)).addr,
  };
}

/** Memory that is one large folio, as long as nobody splits it. */
async function mapHuge(process: Process): Promise<Region> {
  const addr = await process.mmap({ length: 2 * PMD_SIZE, prot: RW });
  const start = Math.ceil(addr / PMD_SIZE) * PMD_SIZE;
  await process.madvise(start, PMD_SIZE, MADV_HUGEPAGE);
  return { name: 'huge', addr: start, pages: HUGE_PAGES };
}

/** What a core's program is told (args.layout of fixtures/programs/stress.js). */
export function layoutFor(owner: StressProcess, core: number): unknown {
  const rank = owner.cores.indexOf(core);
  return {
    words: owner.words.map((region) => ({ ...region, rank: region.isShared ? core : rank })),
    counters: owner.counters.map((region) => ({ ...region, slots: COUNTER_SLOTS })),
    locks: owner.locks,
    bulk: { ...owner.bulk, rank },
    fds: owner.devices.map(({ fd }) => fd),
    stop: owner.stop,
  };
}
