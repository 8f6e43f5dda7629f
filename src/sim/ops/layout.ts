/** Calls that change what is mapped where: mmap, munmap, mprotect, and dropping pages. */
import { errno, isErr } from '../../base/errno.ts';
import type { MaybePromise } from '../../base/maybe.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../mm/mm-types.ts';
import { doMmap, doMunmap } from '../../mm/mmap.ts';
import { doMprotect } from '../../mm/mprotect.ts';
import { vmaLookup } from '../../mm/vma-lookup.ts';
import { pageoutRange } from '../../mm/vmscan.ts';
import { zapPageRange } from '../../mm/zap.ts';
import { OBJECT_PAGES, arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { pickRange } from '../operation.ts';
import type { Operation, SimRange } from '../operation.ts';
import { Content, UNMAPPED, nothing } from '../shadow.ts';
import type { PlaceState } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const MOST_PAGES = 8;
const PROTS = [3, 3, 3, 3, 3, PROT_READ, PROT_READ, PROT_WRITE, PROT_EXEC, 0] as const;

/** A range that nothing else is changing, of a process that is not being forked. */
export function pickQuietRange(world: World, dice: Dice): SimRange | null {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null || range.process.forking > 0) return null;
  const { places } = range.process;
  const quiet = places.slice(range.first, range.first + range.count);
  return quiet.every(({ next }) => next === null) ? range : null;
}

/**
 * Makes a call that changes the range page by page to `states`, which may be shorter.
 *
 * @param refusal What it answers after having changed just that; 0 where it succeeds.
 */
export function changeLayout(
  world: World,
  name: string,
  range: SimRange,
  states: readonly PlaceState[],
  refusal: number,
  call: () => MaybePromise<number>,
): void {
  const { process, first } = range;
  process.changing++;
  states.forEach((state, i) => process.change(first + i, state));
  world.begin(name, async () => {
    const status = await call();
    process.changing--;
    const asExpected = refusal === 0 ? !isErr(status) : status === refusal;
    states.forEach((_, i) => process.settle(first + i, asExpected));
    world.note(status);
    world.log?.(`${name} ${range.toString()} ends with ${status}`);
    if (asExpected || (process.isDying && status === errno.ESRCH)) return;
    world.expectStatus(`${name} ${range.toString()}`, status, world.excuses());
  });
}

function startMmap(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null) return;
  const { mm } = range.process;
  const prot = dice.pick(PROTS);
  const kind = dice.below(5);
  const object = dice.pick(world.objects);
  const pgoff = dice.below(OBJECT_PAGES);
  const isShared = kind === 2 || kind === 3;
  const isFile = kind === 4;
  if (kind >= 3 && object.isResizing) return;
  const states = Array.from({ length: range.count }, (_, i): PlaceState => {
    if (kind < 3) return { prot, content: Content.zero(), isShared };
    const index = pgoff + i;
    const of = { object, index };
    const page = index < object.size ? object.pages[index]! : null;
    if (isFile) return { prot, content: page && Content.loose(), isShared, isFile, of };
    return { prot, content: page, isShared, of };
  });
  const sharing = isShared ? MAP_SHARED : MAP_PRIVATE;
  const request = {
    addr: arenaAddress(range.first),
    length: range.count * PAGE_SIZE,
    prot,
    flags: MAP_FIXED | sharing | (kind >= 3 ? 0 : MAP_ANONYMOUS),
    ...(kind >= 3 ? { inode: object.inode, pgoff } : {}),
  };
  changeLayout(world, 'mmap', range, states, 0, () => doMmap(mm, request));
}

function startMunmap(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null) return;
  const { mm } = range.process;
  const length = range.count * PAGE_SIZE;
  const call = (): MaybePromise<number> => doMunmap(mm, arenaAddress(range.first), length);
  changeLayout(world, 'munmap', range, range.states.map(nothing), 0, call);
}

/** A gap ends it with ENOMEM; what lies below the gap has changed. */
function startMprotect(world: World, dice: Dice): void {
  const range = pickQuietRange(world, dice);
  if (range === null) return;
  const { mm } = range.process;
  const prot = dice.pick(PROTS);
  const gap = range.states.findIndex((state) => state.prot === UNMAPPED);
  const mapped = gap < 0 ? range.states : range.states.slice(0, gap);
  const states = mapped.map((state) => ({ ...state, prot }));
  const length = range.count * PAGE_SIZE;
  const call = (): MaybePromise<number> => doMprotect(mm, arenaAddress(range.first), length, prot);
  changeLayout(world, 'mprotect', range, states, gap < 0 ? 0 : errno.ENOMEM, call);
}

/** zapPageRange of every page that is mapped, as a driver or MADV_DONTNEED does. */
function startZap(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null) return;
  const { process, first, count } = range;
  const { mm } = process;
  world.begin('zap', async () => {
    await mm.mmapLock.readLock();
    for (let page = first; page < first + count; page++) {
      const { now, next } = process.places[page]!;
      if (next !== null || now.prot === UNMAPPED) continue;
      const start = arenaAddress(page);
      const vma = vmaLookup(mm, start);
      if (vma === null) violated(`page ${page} of process ${process.slot} is not mapped`);
      zapPageRange(vma, start, start + PAGE_SIZE);
      // Private memory starts over; shared memory keeps its bytes.
      if (now.isShared || now.content === null) continue;
      const content = now.isFile === true ? Content.loose() : Content.zero();
      process.replace(page, { ...now, content });
    }
    mm.mmapLock.readUnlock();
    world.log?.(`zap ${range.toString()}`);
  });
}

/** MADV_PAGEOUT: private pages go to swap space, if there is any. */
function startPageOut(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null || world.config.swapPages === 0) return;
  const { process, first, count } = range;
  const { mm } = process;
  world.begin('pageOut', async () => {
    await mm.mmapLock.readLock();
    let pages = 0;
    for (let page = first; page < first + count; page++) {
      const start = arenaAddress(page);
      const vma = vmaLookup(mm, start);
      if (vma !== null) pages += pageoutRange(vma, start, start + PAGE_SIZE);
    }
    mm.mmapLock.readUnlock();
    world.count('pagedOut', pages);
    world.log?.(`pageOut ${range.toString()} frees ${pages}`);
  });
}

/** Rows that go to the end of the table. */
export const PAGING_OPERATIONS: readonly Operation[] = [
  { name: 'pageOut', weight: 1.5, isTask: true, start: startPageOut },
];

/** See the file header. */
export const LAYOUT_OPERATIONS: readonly Operation[] = [
  { name: 'mmap', weight: 2, isTask: true, start: startMmap },
  { name: 'munmap', weight: 0.5, isTask: true, start: startMunmap },
  { name: 'mprotect', weight: 1.5, isTask: true, start: startMprotect },
  { name: 'zap', weight: 1, isTask: true, start: startZap },
];
