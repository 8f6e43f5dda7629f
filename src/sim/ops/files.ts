/** Shared objects through a file descriptor, while processes have them mapped. */
import { errno } from '../../base/errno.ts';
import { PAGE_SIZE } from '../../base/units.ts';
import { filemapRead, genericFileWrite } from '../../mm/filemap.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, shmemFallocate } from '../../mm/truncate.ts';
import { OBJECT_PAGES } from '../arena.ts';
import type { Dice } from '../dice.ts';
import type { Operation } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import { SLOTS } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { SimObject, World } from '../world.ts';

const WORD = 4;

function startPread(world: World, dice: Dice): void {
  const { inode, pages, size, isResizing } = dice.pick(world.objects);
  const page = dice.below(OBJECT_PAGES);
  const slot = dice.below(SLOTS.length);
  if (isResizing) return;
  const bytes = new Uint8Array(WORD);
  const got = filemapRead(inode, page * PAGE_SIZE + SLOTS[slot]! * WORD, bytes);
  if (got !== (page < size ? WORD : 0)) violated(`pread of page ${page} of ${size} answers ${got}`);
  if (got === 0) return;
  const value = new Uint32Array(bytes.buffer)[0]!;
  world.note(value);
  world.log?.(`pread ${page}.${slot} is ${value.toString(16)}`);
  const content = pages[page]!;
  if (content.mayBe(slot, value)) return;
  violated(`pread finds ${value.toString(16)} in page ${page}, not ${content.describe(slot)}`);
}

/** A page that there is, of an object that stays as long; null when there is none. */
function pickObjectPage(world: World, dice: Dice): { object: SimObject; page: number } | null {
  const object = dice.pick(world.objects);
  const page = dice.below(OBJECT_PAGES);
  return object.isResizing || page >= object.size ? null : { object, page };
}

function startPwrite(world: World, dice: Dice): void {
  const picked = pickObjectPage(world, dice);
  if (picked === null) return;
  const { object, page } = picked;
  const { inode, pages } = object;
  const at = dice.below(SLOTS.length);
  const value = world.newValue();
  const write = new RangeWrite(false, 0, 1, (_, slot) => (slot === at ? value : null));
  const source = new Uint8Array(Uint32Array.of(value).buffer);
  world.begin('pwrite', async () => {
    object.writers++;
    write.mayHit(pages[page]!, 0, true);
    const done = await genericFileWrite(inode, page * PAGE_SIZE + SLOTS[at]! * WORD, source);
    object.writers--;
    write.end(done === WORD, false);
    world.log?.(`pwrite ${page}.${at} = ${value.toString(16)} ends with ${done}`);
    world.expectStatus('pwrite', done, [WORD, ...world.excuses()]);
  });
}

/** Dropping whole pages of an object makes them zeroes for everybody. */
function startPunchHole(world: World, dice: Dice): void {
  const picked = pickObjectPage(world, dice);
  if (picked === null) return;
  const { object, page } = picked;
  const { inode, pages } = object;
  const write = new RangeWrite(false, 0, 1, () => 0);
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  world.begin('punchHole', async () => {
    object.writers++;
    write.mayHit(pages[page]!, 0, true);
    const status = await shmemFallocate(inode, mode, page * PAGE_SIZE, PAGE_SIZE);
    object.writers--;
    write.end(status === 0, false);
    // Who had pinned the page has one that nobody else knows any more.
    for (const pin of world.pins) if (pin.content === pages[page]) pin.content = null;
    world.log?.(`punchHole ${page} ends with ${status}`);
    world.expectStatus('punchHole', status, [0, ...world.excuses()]);
  });
}

function startFallocate(world: World, dice: Dice): void {
  const picked = pickObjectPage(world, dice);
  if (picked === null) return;
  const { object, page } = picked;
  world.begin('fallocate', async () => {
    object.writers++;
    const status = await shmemFallocate(object.inode, 0, page * PAGE_SIZE, PAGE_SIZE);
    object.writers--;
    world.expectStatus('fallocate', status, [0, errno.ENOMEM]);
  });
}

/** See the file header. */
export const FILE_OPERATIONS: readonly Operation[] = [
  { name: 'pread', weight: 0.5, start: startPread },
  { name: 'pwrite', weight: 0.7, isTask: true, start: startPwrite },
  { name: 'punchHole', weight: 0.2, isTask: true, start: startPunchHole },
  { name: 'fallocate', weight: 0.1, isTask: true, start: startFallocate },
];
