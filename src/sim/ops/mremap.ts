/** mremap: pages move to other addresses of the arena, wherever they are just then. */
import { PAGE_SIZE } from '../../base/units.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, doMremap } from '../../mm/mremap.ts';
import { vmaLookup } from '../../mm/vma-lookup.ts';
import { ARENA_PAGES, arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { errno, isErr } from '../../base/errno.ts';
import type { Operation } from '../operation.ts';
import { nothing } from '../shadow.ts';
import type { World } from '../world.ts';
import { pickQuietRange } from './layout.ts';

/** Only within one VMA, and while nothing else changes VMAs: then it must work. */
function startMove(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null || range.process.changing > 0) return;
  const { process, first, count, states } = range;
  const to = dice.below(ARENA_PAGES - count + 1);
  const vma = vmaLookup(process.mm, arenaAddress(first));
  const end = arenaAddress(first) + count * PAGE_SIZE;
  const overlaps = to < first + count && first < to + count;
  if (vma === null || vma.vmEnd < end || overlaps) return;
  process.changing++;
  states.forEach((state, i) => {
    process.change(to + i, state);
    process.change(first + i, nothing());
  });
  const length = count * PAGE_SIZE;
  world.begin('move', async () => {
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    const [from, target] = [arenaAddress(first), arenaAddress(to)];
    const status = await doMremap(process.mm, from, length, length, flags, target);
    process.changing--;
    states.forEach((_, i) => {
      process.settle(to + i, !isErr(status));
      process.settle(first + i, !isErr(status));
      // What was at the target may be gone before it turns out that there is no memory.
      const isGone = isErr(status) && vmaLookup(process.mm, target + i * PAGE_SIZE) === null;
      if (isGone) process.replace(to + i, nothing());
    });
    world.log?.(`move ${range.toString()} to ${to} ends with ${status}`);
    if (!isErr(status) || (process.isDying && status === errno.ESRCH)) return;
    world.expectStatus(`move ${range.toString()}`, status, world.excuses());
  });
}

/** See the file header. */
export const MREMAP_OPERATIONS: readonly Operation[] = [
  { name: 'move', weight: 0.7, isTask: true, start: startMove },
];
