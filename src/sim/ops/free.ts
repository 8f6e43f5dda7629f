/** Advice under which contents go: MADV_FREE, sooner or later, and guard markers, at once. */
import { errno } from '../../base/errno.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import { guardInstall, guardRemove } from '../../mm/guard.ts';
import { madviseFree } from '../../mm/madvise-pages.ts';
import type { Vma } from '../../mm/mm-types.ts';
import { vmaLookup } from '../../mm/vma-lookup.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { pickRange } from '../operation.ts';
import type { Operation, SimRange } from '../operation.ts';
import { Content, FRESH, UNMAPPED } from '../shadow.ts';
import type { PlaceState } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const MOST_PAGES = 8;

/**
 * Visits, under the mmap lock, each page of the range that is mapped and that no call in flight is
 * changing.
 */
async function visitPages(
  range: SimRange,
  visit: (page: number, now: PlaceState, vma: Vma, start: number) => void,
): Promise<void> {
  const { process, first, count } = range;
  const { mm } = process;
  await mm.mmapLock.readLock();
  for (let page = first; page < first + count; page++) {
    const { now, next } = process.places[page]!;
    if (next !== null || now.prot === UNMAPPED) continue;
    const start = arenaAddress(page);
    const vma = vmaLookup(mm, start);
    if (vma === null) violated(`page ${page} of process ${process.slot} is not mapped`);
    visit(page, now, vma, start);
  }
  mm.mmapLock.readUnlock();
}

/** Only for private anonymous memory. */
function startFree(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null) return;
  world.begin('free', async () => {
    await visitPages(range, (_, now, vma, start) => {
      if (now.isShared || now.isFile === true) return;
      now.content?.free();
      madviseFree(vma, start, start + PAGE_SIZE);
    });
    world.log?.(`free ${range.toString()}`);
  });
}

function startGuard(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null) return;
  const { process } = range;
  world.begin('guard', async () => {
    await visitPages(range, (page, now, vma, start) => {
      const status = guardInstall(vma, start, start + PAGE_SIZE);
      world.expectStatus('guard', status, [0, ...world.excuses()]);
      // Without a page table there was no page either.
      if (status === errno.ENOMEM || now.guard !== undefined) return;
      const guard = now.isShared || now.content === null ? now.content : FRESH;
      process.replace(page, { ...now, content: null, guard });
    });
    world.log?.(`guard ${range.toString()}`);
  });
}

function startUnguard(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null) return;
  const { process } = range;
  world.begin('unguard', async () => {
    await visitPages(range, (page, now, vma, start) => {
      const status = guardRemove(vma, start, start + PAGE_SIZE);
      world.expectStatus('unguard', status, [0]);
      if (now.guard !== undefined) process.replace(page, withoutGuard(now));
    });
    world.log?.(`unguard ${range.toString()}`);
  });
}

function withoutGuard({ guard, ...rest }: PlaceState): PlaceState {
  if (guard !== FRESH) return { ...rest, content: guard ?? null };
  return { ...rest, content: rest.isFile === true ? Content.loose() : Content.zero() };
}

/** See the file header. */
export const FREE_OPERATIONS: readonly Operation[] = [
  { name: 'free', weight: 0.7, isTask: true, start: startFree },
  { name: 'guard', weight: 0.4, isTask: true, start: startGuard },
  { name: 'unguard', weight: 0.6, isTask: true, start: startUnguard },
];
