/**
 * One run of the simulator: so many steps from one seed. A step starts an operation, lets a core
 * make an access, a device do a bit of its work, or injects a fault; then the microtask queue is
 * drained for a few turns, so that everything that waits in mm and driver is overtaken at each of
 * its awaits by something else. Every few hundred steps nothing new is started until all is at rest
 * (it must come to rest: liveness), and everything is checked.
 *
 * Nothing but the seed decides what happens: the same seed and steps give the same hash.
 */
import { mmuNotifierInvalidateRangeEnd } from '../mm/mmu-notifier.ts';
import { unpinUserPage } from '../mm/gup.ts';
import { shmemPut } from '../mm/shmem.ts';
import { checkMoving, checkStep } from './check-moving.ts';
import { checkRest } from './check-rest.ts';
import type { SimConfig } from './config.ts';
import { Dice } from './dice.ts';
import { endProcess } from './ops/process.ts';
import { OPERATIONS } from './ops/table.ts';
import { violated } from './violation.ts';
import { World } from './world.ts';
import type { Tally } from './world.ts';

/** Steps from one look at every page table entry to the next. */
const MOVING_EVERY = 24;
/** Rounds of the scheduler until everything that is in flight must have ended. */
const REST_ROUNDS = 3000;
const REST_TURNS = 6;
/** Awaiting it lets everything that is queued run once. */
const TURN = Promise.resolve();
/** Lines of the log that a report shows. */
const LOG_LINES = 200;

/** Steps to take, in place of random ones: number in OPERATIONS and seed of each. */
export interface SimTrace {
  readonly operations: readonly number[];
  readonly seeds: readonly number[];
}

export interface SimOptions {
  readonly config: SimConfig;
  readonly steps: number;
  /** Repeats these steps instead of drawing some. */
  readonly trace?: SimTrace;
  /** Keeps what happened, for a report. */
  readonly isLogged?: boolean;
  /** Changes the machine before it starts. */
  readonly prepare?: (world: World) => void;
}

export interface SimResult {
  /** What went wrong, null = nothing. */
  readonly failure: Error | null;
  /** Steps taken. */
  readonly steps: number;
  readonly hash: number;
  readonly tally: Tally;
  readonly trace: SimTrace;
  /** The last lines of the log, if it was kept. */
  readonly log: readonly string[];
}

/** Runs the simulator once. Never throws for what it looks for: that is in the result. */
export async function runSim(options: SimOptions): Promise<SimResult> {
  const world = new World(options.config);
  const log: string[] = [];
  if (options.isLogged === true) {
    world.log = (line) => {
      log.push(`${String(world.step).padStart(6)}  ${line}`);
      if (log.length > LOG_LINES) log.shift();
    };
  }
  const trace = { operations: [] as number[], seeds: [] as number[] };
  try {
    options.prepare?.(world);
    await takeSteps(world, options, trace);
    if (world.failure === null) await endRun(world);
  } catch (error) {
    world.fail(error);
  }
  const { failure, step, hash, tally } = world;
  return { failure, steps: step, hash, tally, trace, log };
}

async function takeSteps(
  world: World,
  options: SimOptions,
  trace: { operations: number[]; seeds: number[] },
): Promise<void> {
  const { config } = options;
  const steps = options.trace?.operations.length ?? options.steps;
  const schedule = new Dice(config.seed ^ 0x5eed);
  const dice = new Dice(0);
  const chooser = new Chooser(config);
  const mapcount = new Int32Array(world.sys.mem.pageCount);
  while (world.step < steps && world.failure === null) {
    const at = world.step++;
    const operation = options.trace?.operations[at] ?? chooser.choose(schedule);
    const seed = options.trace?.seeds[at] ?? schedule.u32();
    trace.operations.push(operation);
    trace.seeds.push(seed);
    dice.reseed(seed);
    const { isTask, start } = OPERATIONS[operation]!;
    if (isTask !== true || world.inFlight < config.tasks) start(world, dice);
    for (let turns = dice.below(config.turns + 1); turns > 0; turns--) await TURN;
    checkStep(world);
    if (at % MOVING_EVERY === 0) checkMoving(world, mapcount);
    if (world.step % config.restEvery === 0) await rest(world);
  }
}

/** Picks operations by their weights. */
class Chooser {
  private readonly sums: number[] = [];

  constructor(config: SimConfig) {
    let sum = 0;
    for (const { name } of OPERATIONS) this.sums.push((sum += config.weights[name] ?? 0));
  }

  choose(dice: Dice): number {
    const total = this.sums.at(-1)!;
    const point = (dice.u32() / 2 ** 32) * total;
    return this.sums.findIndex((sum) => point < sum);
  }
}

/** Lets everything come to rest, without faults and new operations, and checks it all. */
async function rest(world: World): Promise<void> {
  world.isResting = true;
  stopFaults(world);
  for (let round = 0; world.failure === null; round++) {
    for (const { engine } of world.devices) engine.finishAll();
    for (const core of world.cores) core.retry();
    for (const process of world.processes) process?.monitor?.answerOne();
    for (let turn = 0; turn < REST_TURNS; turn++) await TURN;
    const answering = world.processes.some((one) => (one?.monitor?.answering ?? 0) > 0);
    const isBusy = world.inFlight > 0 || answering || world.cores.some((core) => core.isBusy);
    if (!isBusy && world.devices.every(({ engine }) => engine.waiting === 0)) break;
    if (round > REST_ROUNDS) violated(`no rest: ${describeBusy(world)}`);
  }
  if (world.failure !== null) return;
  checkRest(world);
  world.memoryFailed = false;
  world.copiesFailed = false;
  world.isResting = false;
  world.count('rest');
}

function stopFaults(world: World): void {
  const { pageAllocator, pageTables } = world.sys;
  pageAllocator.failAt = 0;
  pageTables.failAllocations = 0;
  for (const { device } of world.devices) device.failNextAllocation = false;
  for (const range of world.openRanges) mmuNotifierInvalidateRangeEnd(range);
  world.openRanges.length = 0;
}

function describeBusy(world: World): string {
  const tasks = world.tasks.filter((name) => name !== null);
  const cores = world.cores.filter((core) => core.isBusy).map((core) => `core ${core.id}`);
  return `${[...tasks, ...cores].join(', ')} never end`;
}

/** Everybody exits: nothing may be left of anything. */
async function endRun(world: World): Promise<void> {
  await rest(world);
  if (world.failure !== null) return;
  const { sys, pins, processes, objects, cores, devices } = world;
  for (const core of cores) core.switchTo(null);
  for (const { pfn } of pins) unpinUserPage(sys, pfn);
  pins.length = 0;
  // One after the other, since a run may have a single task at a time.
  for (const process of processes) {
    if (process === null) continue;
    endProcess(world, process, process.slot % 2 === 0);
    await rest(world);
  }
  for (const { inode } of objects) shmemPut(inode);
  // What was locked when its last user went stays in the swap cache until somebody wants the slot.
  const cached = new Set(sys.swap?.cache);
  const isLeft = (pfn: number): boolean =>
    pfn > sys.zeroPfn && !cached.has(pfn) && sys.mem.folioOf(pfn) !== sys.hugeZeroPfn;
  const used = sys.mem.refcount.findIndex((count, pfn) => count !== 0 && isLeft(pfn));
  if (used >= 0) violated(`page ${used} is in use after everybody has gone`);
  if (sys.pageTables.tablesInUse !== 0) violated('a page table leaked');
  if (sys.mms.size !== 0) violated('an address space leaked');
  for (const { device } of devices) {
    if (device.memory.pagesInUse !== 0) violated('a device page leaked');
  }
}
