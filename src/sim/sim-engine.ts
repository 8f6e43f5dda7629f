/**
 * The copy engine of a simulated device: a CpuEngine behind a queue that only the scheduler serves.
 * A list that was submitted lies there until `step` does some of its rows, in any order, also those
 * of a later list before those of an earlier one; rows can fail, completions can be held back, and
 * the device can be lost with lists half done. What a failed row leaves behind is rubbish, in RAM
 * as in VRAM, since the port promises nothing about it.
 *
 * Locking: none; `step`, `lose` and `finishAll` are called between turns of the microtask queue.
 */
import { errno } from '../base/errno.ts';
import { WORDS_PER_PAGE } from '../base/units.ts';
import { checkCommandList, createCheckScratch } from '../engine/check-list.ts';
import { CommandList, JOB_CHECKSUM } from '../engine/command-list.ts';
import type { CopyEngine, FrameGeometry, StrategyName } from '../engine/copy-engine.ts';
import { CpuEngine } from '../engine/cpu-engine.ts';
import type { System } from '../mm/mm-types.ts';
import type { Dice } from './dice.ts';
import { violated } from './violation.ts';

const WRECK_WORD = 0xdbdbdbdb;

interface Submission {
  readonly list: CommandList;
  /** Rows that are still to do. */
  readonly rows: number[];
  readonly resolve: (status: number) => void;
  hasFailed: boolean;
  /** The device does nothing about it until it is lost or the faults stop. */
  isHung: boolean;
}

/** Failures of copies, for all devices of a machine. */
export interface CopyFaults {
  /** Asked before each row: true makes it fail. */
  fails: () => boolean;
  /** Called before a row fails. */
  readonly onFailure: () => void;
}

export class SimEngine implements CopyEngine {
  readonly name = 'cpu';
  readonly geometry: FrameGeometry;
  readonly adapter;
  readonly stats;
  readonly strategies;
  readonly lost;
  private readonly sys: System;
  private readonly inner: CpuEngine;
  private readonly scratch;
  private readonly queue: Submission[] = [];
  private readonly one = new CommandList(1);
  private readonly faults: CopyFaults;
  private failsNow = false;

  constructor(sys: System, geometry: FrameGeometry, faults: CopyFaults) {
    this.sys = sys;
    this.faults = faults;
    this.geometry = geometry;
    this.inner = new CpuEngine({
      ram: sys.ram,
      geometry,
      failJob: () => this.failsNow,
    });
    this.scratch = createCheckScratch(this.geometry);
    this.adapter = this.inner.adapter;
    this.stats = this.inner.stats;
    this.strategies = this.inner.strategies;
    this.lost = this.inner.lost;
  }

  get isLost(): boolean {
    return this.inner.isLost;
  }

  /** Lists that are not done. */
  get waiting(): number {
    return this.queue.length;
  }

  submit(list: CommandList, _strategy?: StrategyName): Promise<number> | number {
    list.done.fill(0, 0, list.length);
    if (this.isLost) return errno.ENODEV;
    if (checkCommandList(list, this.geometry, this.scratch) !== 0) {
      violated(`the driver submits a list whose row ${list.firstBad} is bad`);
    }
    const rows = Array.from({ length: list.length }, (_, row) => row);
    return new Promise((resolve) => {
      this.queue.push({ list, rows, resolve, hasFailed: false, isHung: false });
    });
  }

  /** Does a few rows of some list; settles a list that has none left. */
  step(dice: Dice): void {
    if (this.queue.length === 0) return;
    const at = dice.below(this.queue.length);
    const job = this.queue[at]!;
    if (job.isHung) return;
    for (let budget = 1 + dice.below(4); budget > 0 && job.rows.length > 0; budget--) {
      this.doRow(job, dice.below(job.rows.length), false);
    }
    // The last row being done and its completion being seen are two moments.
    if (job.rows.length === 0 && dice.chance(0.7)) this.settle(at);
  }

  /** A row of some list fails. @returns false when there is none. */
  failRow(dice: Dice): boolean {
    if (this.queue.length === 0) return false;
    const job = this.queue[dice.below(this.queue.length)]!;
    if (job.rows.length === 0) return false;
    this.doRow(job, dice.below(job.rows.length), true);
    return true;
  }

  /** A list stays undone from now on. */
  hang(dice: Dice): void {
    if (this.queue.length > 0) this.queue[dice.below(this.queue.length)]!.isHung = true;
  }

  /** The device is gone, with whatever it was doing. */
  lose(): void {
    this.inner.markLost('lost by the simulator');
    while (this.queue.length > 0) this.queue.pop()!.resolve(errno.ENODEV);
  }

  /** Does everything that was submitted, hung or not. */
  finishAll(): void {
    while (this.queue.length > 0) {
      const job = this.queue[0]!;
      while (job.rows.length > 0) this.doRow(job, 0, false);
      this.settle(0);
    }
  }

  /** The words of a VRAM frame, for checkers. */
  frame(pfn: number): Uint32Array {
    const start = (pfn - this.geometry.hostFrames) * WORDS_PER_PAGE;
    return this.inner['vram'].subarray(start, start + WORDS_PER_PAGE);
  }

  markLost(): void {
    this.lose();
  }

  close(): void {
    this.lose();
  }

  private settle(at: number): void {
    const [job] = this.queue.splice(at, 1);
    job!.resolve(job!.hasFailed ? errno.EIO : 0);
  }

  private doRow(job: Submission, at: number, fails: boolean): void {
    const row = job.rows[at]!;
    job.rows[at] = job.rows.at(-1)!;
    job.rows.pop();
    this.failsNow = fails || this.faults.fails();
    if (this.failsNow) this.faults.onFailure();
    const { one } = this;
    const { list } = job;
    one.reset();
    one.op[0] = list.op[row]!;
    one.source[0] = list.source[row]!;
    one.target[0] = list.target[row]!;
    one.count[0] = list.count[row]!;
    one.operand[0] = list.operand[row]!;
    one.length = 1;
    one.pages = one.count[0]!;
    this.inner.submit(one);
    list.result[row] = one.result[0]!;
    list.done[row] = one.done[0]!;
    if (!this.failsNow) return;
    job.hasFailed = true;
    this.failsNow = false;
    this.wreckRam(list, row);
  }

  private wreckRam(list: CommandList, row: number): void {
    const target = list.target[row]!;
    if (list.op[row] === JOB_CHECKSUM || target >= this.geometry.hostFrames) return;
    const end = (target + list.count[row]!) * WORDS_PER_PAGE;
    this.sys.ramWords.fill(WRECK_WORD, target * WORDS_PER_PAGE, end);
  }
}
