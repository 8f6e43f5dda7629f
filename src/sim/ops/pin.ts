/** Pages pinned for I/O, and the I/O: stores past all page tables. */
import { errno, isErr } from '../../base/errno.ts';
import { WORDS_PER_PAGE } from '../../base/units.ts';
import {
  FOLL_LONGTERM,
  FOLL_WRITE,
  pinUserPage,
  pinUserPagesFast,
  unpinUserPage,
} from '../../mm/gup.ts';
import { PROT_WRITE } from '../../mm/mm-types.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { checkAnswer, pickRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { SLOTS, UNMAPPED } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const MOST_PINS = 4;

function startPin(world: World, dice: Dice): void {
  const range = pickRange(world, dice, 1);
  if (range === null || world.pins.length >= MOST_PINS) return;
  const { process, first } = range;
  const { prot, content } = range.states[0]!;
  const may = prot !== UNMAPPED && (prot & PROT_WRITE) !== 0 && content !== null;
  world.begin('pin', async () => {
    const pfn = await pinUserPage(process.mm, arenaAddress(first));
    checkAnswer(world, 'pin', range, isErr(pfn) ? pfn : 0, may, [errno.EFAULT]);
    if (!isErr(pfn)) world.pins.push({ pfn, content: range.isStable ? content : null });
  });
}

function startUnpin(world: World, dice: Dice): void {
  if (world.pins.length === 0) return;
  const [pin] = world.pins.splice(dice.below(world.pins.length), 1);
  unpinUserPage(world.sys, pin!.pfn);
  world.log?.(`unpin ${pin!.pfn}`);
}

/** For good: pages of devices, coherent ones too, come to RAM first, or there is no pin. */
function startPinLongterm(world: World, dice: Dice): void {
  const range = pickRange(world, dice, 1);
  if (range === null || world.pins.length >= MOST_PINS) return;
  const { process, first } = range;
  const { prot, content } = range.states[0]!;
  const may = prot !== UNMAPPED && (prot & PROT_WRITE) !== 0 && content !== null;
  const flags = FOLL_WRITE | FOLL_LONGTERM;
  world.begin('pinLongterm', async () => {
    const pfns = new Uint32Array(1);
    const taken = await pinUserPagesFast(process.mm, arenaAddress(first), 1, flags, pfns);
    const pfn = pfns[0]!;
    if (taken === 1) {
      if (world.sys.mem.isZoneDevice(pfn)) violated(`page ${pfn} of a device is pinned for good`);
      world.pins.push({ pfn, content: range.isStable ? content : null });
    }
    // A page of coherent memory that somebody else has pinned can't come.
    if (taken === errno.EBUSY && world.config.coherentPages > 0) return;
    checkAnswer(world, 'pinLongterm', range, taken === 1 ? 0 : taken, may, [errno.EFAULT]);
  });
}

/** A page that a device is writing to through its aperture may get the store or lose it. */
function startPinStore(world: World, dice: Dice): void {
  if (world.pins.length === 0) return;
  const { pfn, content } = dice.pick(world.pins);
  if (content === null) return;
  const slot = dice.below(SLOTS.length);
  const value = world.newValue();
  world.sys.ramWords[pfn * WORDS_PER_PAGE + SLOTS[slot]!] = value;
  if (content.isContested || content.mayBeDropped) content.maybeStore(slot, value);
  else content.store(slot, value);
  world.log?.(`I/O to ${pfn}.${slot} = ${value.toString(16)}`);
}

/** Rows that go to the end of the table. */
export const LONGTERM_OPERATIONS: readonly Operation[] = [
  { name: 'pinLongterm', weight: 0.4, isTask: true, start: startPinLongterm },
];

/** See the file header. */
export const PIN_OPERATIONS: readonly Operation[] = [
  { name: 'pin', weight: 0.5, isTask: true, start: startPin },
  { name: 'unpin', weight: 0.5, start: startUnpin },
  { name: 'pinStore', weight: 0.5, start: startPinStore },
];
