/** Trouble: memory that runs out, invalidations at any moment, waiters woken for nothing. */
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_PROTECTION_PAGE,
  MMU_NOTIFY_SOFT_DIRTY,
  MmuNotifierRange,
  mmuNotifierInvalidateRangeEnd,
  mmuNotifierInvalidateRangeStart,
  mmuNotifierRangeInit,
} from '../../mm/mmu-notifier.ts';
import { pickRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import type { World } from '../world.ts';

const MOST_OPEN = 2;
const EVENTS = [MMU_NOTIFY_CLEAR, MMU_NOTIFY_PROTECTION_PAGE, MMU_NOTIFY_SOFT_DIRTY] as const;

/** An invalidation without a reason, which anybody may make, and which lasts for some steps. */
function startInvalidate(world: World, dice: Dice): void {
  const picked = pickRange(world, dice, 8);
  if (picked === null || world.openRanges.length >= MOST_OPEN) return;
  const { process, first, count } = picked;
  const range = new MmuNotifierRange();
  const start = arenaAddress(first);
  mmuNotifierRangeInit(range, dice.pick(EVENTS), process.mm, start, start + count * PAGE_SIZE);
  mmuNotifierInvalidateRangeStart(range);
  world.openRanges.push(range);
  world.log?.(`invalidation of ${picked.toString()} begins`);
}

function startEndInvalidate(world: World, dice: Dice): void {
  if (world.openRanges.length === 0) return;
  const [range] = world.openRanges.splice(dice.below(world.openRanges.length), 1);
  mmuNotifierInvalidateRangeEnd(range!);
  world.log?.('invalidation ends');
}

/** Those who only wait for a page to be unlocked look again although it is not. */
function startSpuriousWake(world: World): void {
  for (const queue of world.sys.mem['waiters'].values()) {
    for (const waiter of queue) if (!waiter.wantsLock) waiter.wake();
  }
}

/** See the file header. */
export const FAULT_OPERATIONS: readonly Operation[] = [
  {
    name: 'failPage',
    weight: 0.3,
    isFault: true,
    start: (world, dice) => {
      world.sys.pageAllocator.failAt = 1 + dice.below(4);
      world.memoryFailed = true;
    },
  },
  {
    name: 'failTable',
    weight: 0.1,
    isFault: true,
    start: (world) => {
      world.sys.pageTables.failAllocations = 1;
      world.memoryFailed = true;
    },
  },
  { name: 'invalidate', weight: 0.5, isFault: true, start: startInvalidate },
  { name: 'endInvalidate', weight: 3, isVital: true, start: startEndInvalidate },
  { name: 'spuriousWake', weight: 0.3, isFault: true, start: startSpuriousWake },
];
