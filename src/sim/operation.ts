/**
 * What an operation of the workload is, and what most of them share: picking a process and a range,
 * and knowing whether anything else changed there meanwhile.
 */
import { errno } from '../base/errno.ts';
import { PROT_READ, PROT_WRITE } from '../mm/mm-types.ts';
import { ARENA_PAGES } from './arena.ts';
import type { Weighted } from './config.ts';
import type { Dice } from './dice.ts';
import type { SimProcess } from './process.ts';
import { UNMAPPED } from './shadow.ts';
import type { PlaceState } from './shadow.ts';
import { violated } from './violation.ts';
import type { World } from './world.ts';

/**
 * One row of the workload's table. `start` draws everything from the dice, does nothing when it
 * can't run now, and either is done when it returns or has called `world.begin`.
 */
export interface Operation extends Weighted {
  /** Calls `world.begin`: it is started only while there is a free task. */
  readonly isTask?: boolean;
  readonly start: (world: World, dice: Dice) => void;
}

/** A range of arena pages of a process. */
export class SimRange {
  readonly process: SimProcess;
  readonly first: number;
  readonly count: number;
  private readonly epochs: readonly number[];
  private readonly wasChanging: boolean;

  constructor(process: SimProcess, first: number, count: number) {
    this.process = process;
    this.first = first;
    this.count = count;
    const places = process.places.slice(first, first + count);
    this.epochs = places.map(({ epoch }) => epoch);
    this.wasChanging = places.some(({ next }) => next !== null);
  }

  /** Whether the page is what it was when the range was picked. */
  isUnchanged(i: number): boolean {
    const place = this.process.places[this.first + i]!;
    return place.next === null && place.epoch === this.epochs[i];
  }

  /** Whether nothing has changed or could have, so that the outcome is certain. */
  get isStable(): boolean {
    if (this.wasChanging || this.process.isDying) return false;
    return this.epochs.every((_, i) => this.isUnchanged(i));
  }

  get states(): PlaceState[] {
    const { places } = this.process;
    return Array.from({ length: this.count }, (_, i) => places[this.first + i]!.now);
  }

  toString(): string {
    return `${this.process.slot}:${this.first}+${this.count}`;
  }
}

/** A random range of a process that lives; null when there is none. */
export function pickRange(world: World, dice: Dice, most: number): SimRange | null {
  const process = world.pickProcess(dice);
  if (process === null) return null;
  const first = dice.below(ARENA_PAGES);
  const count = Math.min(1 + dice.below(most), ARENA_PAGES - first);
  return new SimRange(process, first, count);
}

/** Whether a device may read (write) the place. It asks for PROT_READ where a CPU takes any. */
export function deviceMay({ prot, content }: PlaceState, isWrite: boolean): boolean {
  if (prot === UNMAPPED || content === null || (prot & PROT_READ) === 0) return false;
  return !isWrite || (prot & PROT_WRITE) !== 0;
}

/**
 * Checks the answer of a call whose success shadow memory can tell.
 *
 * @param may Whether it may succeed as far as the range goes. @param denials Its answers if not.
 */
export function checkAnswer(
  world: World,
  what: string,
  range: SimRange,
  status: number,
  may: boolean,
  denials: readonly number[],
): void {
  world.note(status);
  world.log?.(`${what} ${range.toString()} ends with ${status}`);
  if (!range.isStable) return;
  if (may ? status === 0 : denials.includes(status)) return;
  if (world.excuses().includes(status)) return;
  const expected = may ? '0' : denials.join(' or ');
  violated(`${what} of ${range.toString()} answers ${status}, not ${expected}`);
}

/** The denials of a device access. */
export const ACCESS_DENIALS: readonly number[] = [errno.EFAULT, errno.EPERM];
