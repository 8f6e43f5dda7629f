/**
 * The soak: migrations both ways for minutes, every word compared in every round, and a look at
 * what grows. Processes come and go; a process migrates all of its pages to the device, a kernel
 * there adds a constant, and the pages come home by migration or by CPU faults, in turn. Every
 * other process has large folios.
 *
 * Memory is flat when, after each process, as many pages of RAM and of the device are in use as
 * after the first ones, and when heap and process are no larger at the end than at the beginning,
 * beyond a margin: their floors are compared, as garbage comes and goes in between.
 */
import { PAGE_DEVICE, PAGE_SIZE } from '../src/index.ts';
import { nodeProcess } from './heap.ts';
import { MigratingProcess } from './migrate-suite.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, failureText } from './sampler.ts';
import type { BenchCell } from './types.ts';

/** Sizes of a soak. */
export interface SoakPlan {
  readonly minutes: number;
  /** Pages of a process: whole large folios. */
  readonly pages: number;
  /** Rounds of a process. */
  readonly rounds: number;
  /** Milliseconds between two looks at the heap. */
  readonly lookMs: number;
}

/** Cells that runSoak() adds at most. */
export const SOAK_CELLS = 6;
/** A process of either kind has been there and gone when pages are counted for the first time. */
const WARM_LIVES = 2;
/** By how much a floor may rise: a tenth, or what a host takes for itself as it goes. */
const MARGIN = 0.1;
const MARGIN_BYTES = 8 * 2 ** 20;
/** Looks that are needed to tell growth from warming up: half a minute of them. */
const LEAST_LOOKS = 30;
/** Of the looks, the first are those of a program that is being compiled. */
const WARM_SHARE = 0.1;

/** Runs the soak. Adds its cells to `ctx`; one that found something is not verified. */
export async function runSoak(ctx: RunContext, plan: SoakPlan): Promise<void> {
  const soak = new Soak(ctx, plan);
  let failure: string | null = null;
  try {
    for (let life = 0; !soak.isOver; life++) await soak.live(life);
  } catch (error) {
    failure = failureText(error);
  }
  soak.report(failure);
}

/**
 * Why memory is not flat: its floor in the last third of the looks is higher than in the first by
 * more than the margin. Null where it is flat, or where the looks are too few to say.
 */
export function growthFailure(looks: readonly number[]): string | null {
  if (looks.length < LEAST_LOOKS) return null;
  const kept = looks.slice(Math.ceil(looks.length * WARM_SHARE));
  const third = Math.floor(kept.length / 3);
  const first = Math.min(...kept.slice(0, third));
  const last = Math.min(...kept.slice(-third));
  if (last - first <= Math.max(first * MARGIN, MARGIN_BYTES)) return null;
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return `grew from ${mib(first)} to ${mib(last)}`;
}

/** Why pages are lost: the first count that is not that of the first warm process. */
export function leakFailure(counts: readonly number[]): string | null {
  const warm = counts[WARM_LIVES - 1];
  const at = counts.findIndex((count, i) => i >= WARM_LIVES && count !== warm);
  if (at < 0) return null;
  return `${counts[at]} pages are in use after process ${at + 1}, ${warm} after ${WARM_LIVES}`;
}

/** "3:07" */
function clock(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

class Soak {
  private readonly ctx: RunContext;
  private readonly plan: SoakPlan;
  private readonly begun = performance.now();
  private readonly toDevice: number[] = [];
  private readonly toHost: number[] = [];
  private readonly heap: number[] = [];
  private readonly resident: number[] = [];
  private readonly ramPages: number[] = [];
  private readonly devicePages: number[] = [];
  private rounds = 0;
  private lookedAt = -Infinity;

  constructor(ctx: RunContext, plan: SoakPlan) {
    this.ctx = ctx;
    this.plan = plan;
  }

  get isOver(): boolean {
    return this.elapsed >= this.plan.minutes * 60_000;
  }

  /** The life of a process; at its end what is in use is counted. */
  async live(life: number): Promise<void> {
    const isHuge = life % 2 === 1;
    const subject = await MigratingProcess.start(this.ctx, this.plan.pages, `soak ${life}`, isHuge);
    for (let round = 0; round < this.plan.rounds && !this.isOver; round++) {
      await this.ctx.say('migrate', this.note(life));
      await this.round(subject, round);
      await this.look();
    }
    await subject.end();
    const { sys, devices } = this.ctx.machine.kernel;
    const ramPages = this.ctx.machine.report.ramBytes / PAGE_SIZE;
    this.ramPages.push(ramPages - sys.pageAllocator.freePages);
    this.devicePages.push(devices.reduce((sum, device) => sum + device.memory.pagesInUse, 0));
  }

  private get elapsed(): number {
    return performance.now() - this.begun;
  }

  private note(life: number): string {
    const time = `${clock(this.elapsed)} of ${clock(this.plan.minutes * 60_000)}`;
    return `${time}, process ${life + 1}, ${this.rounds} rounds`;
  }

  /** There, a kernel, and home again; all words are compared. */
  private async round(subject: MigratingProcess, round: number): Promise<void> {
    this.toDevice.push(await this.timed(subject, 'MIGRATE_TO_DEV'));
    await subject.expectAll(PAGE_DEVICE);
    await subject.addOnDevice();
    // In the other rounds the comparison's own reads bring the pages home.
    if (round % 2 === 0) this.toHost.push(await this.timed(subject, 'MIGRATE_TO_SYS'));
    const wrong = await subject.compare();
    if (wrong !== null) throw new OperationFailure(`round ${this.rounds + 1}: ${wrong}`);
    this.rounds += 1;
  }

  private async timed(
    subject: MigratingProcess,
    command: 'MIGRATE_TO_DEV' | 'MIGRATE_TO_SYS',
  ): Promise<number> {
    const begun = performance.now();
    const errno = await subject.migrate(command);
    if (errno !== 0) throw new OperationFailure(`${command} answered errno ${errno}`);
    return (performance.now() - begun) * 1000;
  }

  private async look(): Promise<void> {
    const now = performance.now();
    if (now - this.lookedAt < this.plan.lookMs) return;
    this.lookedAt = now;
    const { heap } = this.ctx;
    if (heap !== null) this.heap.push(await heap.used());
    const rss = nodeProcess()?.memoryUsage().rss;
    if (rss !== undefined) this.resident.push(rss);
  }

  report(failure: string | null): void {
    const { pages } = this.plan;
    this.add('to-device', 'us', this.toDevice, failure, pages);
    this.add('to-host', 'us', this.toHost, failure, pages);
    if (this.heap.length > 0) this.add('heap', 'bytes', this.heap, growthFailure(this.heap));
    const { resident } = this;
    if (resident.length > 0) this.add('process', 'bytes', resident, growthFailure(resident));
    const inBytes = (counts: readonly number[]): number[] => counts.map((one) => one * PAGE_SIZE);
    this.add('ram', 'bytes', inBytes(this.ramPages), leakFailure(this.ramPages));
    this.add('device-memory', 'bytes', inBytes(this.devicePages), leakFailure(this.devicePages));
  }

  private add(
    what: string,
    unit: BenchCell['unit'],
    samples: number[],
    failure: string | null,
    pages = 0,
  ): void {
    const { minutes } = this.plan;
    const params = { what, minutes, rounds: this.rounds, processes: this.ramPages.length };
    const spec = { suite: 'migrate' as const, id: `soak/${what}`, unit };
    const sampled = { samples, dropped: 0, chained: 1, failure, phases: null };
    this.ctx.addCell({ ...spec, params, bytes: pages * PAGE_SIZE, pages }, sampled);
  }
}
