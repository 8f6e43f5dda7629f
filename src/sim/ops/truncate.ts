/** Objects get shorter and longer while processes, devices and I/O use what is mapped of them. */
import { PAGE_SIZE } from '../../base/units.ts';
import { shmemTruncate } from '../../mm/truncate.ts';
import { OBJECT_PAGES } from '../arena.ts';
import type { Dice } from '../dice.ts';
import type { Operation } from '../operation.ts';
import type { SimProcess } from '../process.ts';
import { Content, FRESH } from '../shadow.ts';
import type { PlaceState } from '../shadow.ts';
import type { SimObject, World } from '../world.ts';

/** A place that changes with the end of the object. */
interface Changed {
  readonly process: SimProcess;
  readonly page: number;
}

/** What the place of a page of the object is when that ends at `size`. */
function stateAt(now: PlaceState, object: SimObject, index: number, size: number): PlaceState {
  const { guard, ...rest } = now;
  const isThere = index < size;
  const mapped = now.isShared ? object.pages[index]! : Content.loose();
  if (guard === undefined) return { ...rest, content: isThere ? mapped : null };
  // A marker stays, and hides what comes and goes behind it.
  const hidden = now.isShared ? mapped : FRESH;
  return { ...rest, content: null, guard: isThere ? hidden : null };
}

/** Begins the change of all places between the two ends. */
function changePlaces(world: World, object: SimObject, size: number): Changed[] {
  const first = Math.min(object.size, size);
  const last = Math.max(object.size, size);
  const changed: Changed[] = [];
  for (const process of world.processes) {
    process?.places.forEach(({ now }, page) => {
      const { of } = now;
      if (of === undefined || of.object !== object || of.index < first || of.index >= last) return;
      for (const pin of world.pins) if (pin.content === now.content) pin.content = null;
      process.change(page, stateAt(now, object, of.index, size));
      changed.push({ process, page });
    });
  }
  return changed;
}

/** Only while no call changes what is mapped; exits may begin meanwhile. */
function startTruncate(world: World, dice: Dice): void {
  const object = dice.pick(world.objects);
  const size = dice.below(OBJECT_PAGES + 1);
  const processes = world.processes.filter((process) => process !== null);
  const isBusy = processes.some(
    ({ changing, forking, isDying }) => changing > 0 || forking > 0 || isDying,
  );
  if (isBusy || object.writers > 0 || object.isResizing || size === object.size) return;
  object.isResizing = true;
  for (let index = object.size; index < size; index++) object.pages[index] = Content.zero();
  const changed = changePlaces(world, object, size);
  for (const process of processes) process.changing++;
  world.begin('truncate', async () => {
    const status = await shmemTruncate(object.inode, size * PAGE_SIZE);
    for (const process of processes) process.changing--;
    for (const { process, page } of changed) if (!process.isDying) process.settle(page, true);
    world.log?.(`truncate from ${object.size} to ${size} pages ends with ${status}`);
    object.size = size;
    object.isResizing = false;
    world.expectStatus('truncate', status, [0]);
  });
}

/** See the file header. */
export const TRUNCATE_OPERATIONS: readonly Operation[] = [
  { name: 'truncate', weight: 0.4, isTask: true, start: startTruncate },
];
