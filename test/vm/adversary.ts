/*
 * A pager that does to a launch whatever a host may: serves part of a batch, in any order, grants
 * more or less than was asked, and between passes takes pages and permissions away again. What it
 * just granted it leaves until the next pass, as every host must.
 */
import type { Prng } from '../../src/base/prng.ts';
import { ACCESS_READ, FORCE_NEVER, PTE_ALL, PTE_READ, PTE_WRITE } from '../../src/engine/vm/abi.ts';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import type { FaultBatch, LaunchReport } from '../../src/engine/vm/launch.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import type { VmEngine, VmProgram } from '../../src/engine/vm/vm-engine.ts';
import { differenceOf } from './oracle.ts';

/** Passes after which it is kinder, so that runs end. */
const PRESSURE = 60;

/** How hard a run is pressed; drawn for each run. */
interface Habits {
  readonly partial: number;
  readonly evict: number;
  readonly downgrade: number;
  /** Grants exactly what was asked. */
  readonly exact: boolean;
}

class Adversary extends BackingPager {
  private readonly prng: Prng;
  private readonly habits: Habits;

  constructor(
    prng: Prng,
    engine: VmEngine,
    space: DeviceSpace,
    one: VmCase,
    bytes: Uint8Array,
    frames: number,
  ) {
    const numbers = prng.shuffle(Uint32Array.from({ length: engine.frames }, (_, i) => i));
    super(engine, space, bytes, one.base, [...numbers.subarray(0, frames)]);
    this.prng = prng;
    this.habits = {
      partial: prng.below(3) / 3,
      evict: prng.below(4) / 4,
      downgrade: prng.below(3) / 4,
      exact: prng.chance(0.5),
    };
  }

  override async serve(batch: FaultBatch): Promise<void> {
    const all = [...this.wanted(batch)];
    const order = this.prng.shuffle(Uint32Array.from(all, (_, i) => i));
    const least = this.prng.chance(this.habits.partial) ? 1 : all.length;
    const chosen = [...order.subarray(0, least + this.prng.below(all.length - least + 1))];
    const granted = new Map(chosen.map((index) => all[index]!));
    await this.grant(granted);
    if (batch.pass < PRESSURE) await this.harass(granted);
  }

  protected override flagsFor(access: number): number {
    if (!this.habits.exact) return super.flagsFor(access);
    if (access === ACCESS_READ) return PTE_READ;
    return access === 1 ? PTE_READ | PTE_WRITE : PTE_ALL;
  }

  private async harass(granted: ReadonlyMap<number, number>): Promise<void> {
    const { prng, habits } = this;
    const others = [...this.resident.values()].filter(({ address }) => !granted.has(address));
    await this.evict(others.filter(() => prng.chance(habits.evict)));
    for (const page of this.resident.values()) {
      if (granted.has(page.address) || !prng.chance(habits.downgrade)) continue;
      page.flags = PTE_READ;
      this.space.protectPage(page.address, page.flags);
    }
  }
}

/** What came of a run. */
export interface AdversaryRun {
  /** '' where memory is right and the launch ended as it should. */
  readonly problem: string;
  readonly report: LaunchReport;
  /** Whether logs outgrew their room, so that fewer workgroups were in flight. */
  readonly shrunk: boolean;
}

/**
 * Runs a program under random residency, protection, eviction, window and order of work.
 *
 * @param wanted memory as a run without faults leaves it
 * @param forceAt makes every first attempt fail at this operation
 */
export async function runAgainst(
  prng: Prng,
  engine: VmEngine,
  program: VmProgram,
  one: VmCase,
  wanted: Uint8Array,
  forceAt = FORCE_NEVER,
): Promise<AdversaryRun> {
  const space = new DeviceSpace(prng.below(100));
  const bytes = one.bytes.slice();
  const pages = bytes.length / 4096;
  const frames = prng.chance(0.25) ? 1 : 1 + prng.below(Math.min(engine.frames, pages + 2));
  const pager = new Adversary(prng, engine, space, one, bytes, frames);
  if (prng.chance(0.4)) await pager.populate(prng.chance(0.5) ? PTE_ALL : PTE_READ);
  const window = Math.min(program.slots, 1 + prng.below(one.workgroups));
  const report = await launchKernel(program, {
    space,
    workgroups: one.workgroups,
    args: one.args,
    window,
    pager: (batch) => pager.serve(batch),
    forceAt,
    arrange: (work) => shufflePairs(prng, work),
  });
  await pager.collect();
  engine.drop(space);
  const ended = report.outcome === 'done' && report.killed === 0;
  const problem = ended ? differenceOf(one, bytes, wanted) : `ended as ${report.outcome}`;
  return { problem, report, shrunk: report.window < window };
}

function shufflePairs(prng: Prng, work: Uint32Array): void {
  const order = prng.shuffle(Uint32Array.from({ length: work.length / 2 }, (_, i) => i));
  const before = work.slice();
  for (const [index, from] of order.entries()) {
    work.set(before.subarray(from * 2, from * 2 + 2), index * 2);
  }
}
