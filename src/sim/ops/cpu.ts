/** Loads and stores: by cores through their TLBs, and by the kernel on behalf of a call. */
import { isPending } from '../../base/maybe.ts';
import type { MaybePromise } from '../../base/maybe.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../../base/units.ts';
import { PROT_WRITE } from '../../mm/mm-types.ts';
import { copyFromUser, copyToUser } from '../../mm/uaccess.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { SimRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import { SLOTS, UNMAPPED } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const LAST_SLOT = SLOTS.length - 1;

/** Two words on both sides of a page border: the last of a page and the first of the next. */
function pickBorder(world: World, dice: Dice): SimRange | null {
  const process = world.pickProcess(dice);
  if (process === null) return null;
  return new SimRange(process, dice.below(process.places.length - 1), 2);
}

function borderAddress(range: SimRange): number {
  return arenaAddress(range.first) + (WORDS_PER_PAGE - 1) * 4;
}

function isReachable(range: SimRange, isStore: boolean): boolean {
  return range.states.every(({ prot, content }) => {
    if (prot === UNMAPPED || prot === 0 || content === null) return false;
    return !isStore || (prot & PROT_WRITE) !== 0;
  });
}

function checkLeft(world: World, what: string, range: SimRange, left: number, may: boolean): void {
  world.note(left);
  world.log?.(`${what} ${range.toString()} leaves ${left}`);
  if (!range.isStable || (left === 0) === may) return;
  if (left > 0 && world.excuses().length > 0) return;
  violated(`${what} of ${range.toString()} leaves ${left} bytes`);
}

function startCopyToUser(world: World, dice: Dice): void {
  const range = pickBorder(world, dice);
  if (range === null) return;
  const { process, first } = range;
  const values = [world.newValue(), world.newValue()];
  const isTouched = (page: number, slot: number): boolean => slot === (page === 0 ? LAST_SLOT : 0);
  const valueAt = (page: number, slot: number): number | null =>
    isTouched(page, slot) ? values[page]! : null;
  const may = isReachable(range, true);
  const write = new RangeWrite(false, first, 2, valueAt);
  const source = new Uint8Array(Uint32Array.from(values).buffer);
  world.begin('copyToUser', async () => {
    process.beginWrite(write);
    const left = await copyToUser(process.mm, borderAddress(range), source);
    process.endWrite(write, left === 0, false);
    checkLeft(world, 'copyToUser', range, left, may);
  });
}

function startCopyFromUser(world: World, dice: Dice): void {
  const range = pickBorder(world, dice);
  if (range === null) return;
  const { process, first } = range;
  const target = new Uint8Array(8);
  const may = isReachable(range, false);
  const left: MaybePromise<number> = copyFromUser(process.mm, borderAddress(range), target);
  const check = (bytes: number): void => {
    checkLeft(world, 'copyFromUser', range, bytes, may);
  };
  if (isPending(left)) {
    world.begin('copyFromUser', async () => check(await left));
    return;
  }
  check(left);
  if (left !== 0) return;
  const words = new Uint32Array(target.buffer);
  [LAST_SLOT, 0].forEach((slot, i) => {
    const place = process.places[first + i]!;
    if (place.mayBe(slot, words[i]!)) return;
    violated(`page ${range.toString()} slot ${slot} is ${words[i]}, not ${place.describe(slot)}`);
  });
}

function startCpu(world: World, dice: Dice): void {
  dice.pick(world.cores).run(dice);
}

function startSwitch(world: World, dice: Dice): void {
  dice.pick(world.cores).switchTo(world.pickProcess(dice));
}

/** See the file header. */
export const CPU_OPERATIONS: readonly Operation[] = [
  { name: 'cpu', weight: 40, isVital: true, start: startCpu },
  { name: 'switch', weight: 1, start: startSwitch },
  { name: 'copyToUser', weight: 1, isTask: true, start: startCopyToUser },
  { name: 'copyFromUser', weight: 1, isTask: true, start: startCopyFromUser },
];

/** Bytes of `count` pages of which only the words at SLOTS are set. */
export function pagesOf(
  count: number,
  valueAt: (page: number, slot: number) => number,
): Uint8Array {
  const words = new Uint32Array((count * PAGE_SIZE) / 4);
  for (let page = 0; page < count; page++) {
    SLOTS.forEach((at, slot) => {
      words[page * WORDS_PER_PAGE + at] = valueAt(page, slot);
    });
  }
  return new Uint8Array(words.buffer);
}
