/** Advice that changes no contents: faulting in, and calling pages cold. */
import { PAGE_SIZE } from '../../base/units.ts';
import { MADV_COLD, MADV_POPULATE_READ, MADV_POPULATE_WRITE, doMadvise } from '../../mm/madvise.ts';
import { PROT_READ, PROT_WRITE } from '../../mm/mm-types.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { checkAnswer, pickRange } from '../operation.ts';
import type { Operation } from '../operation.ts';
import type { World } from '../world.ts';

const MOST_PAGES = 8;
const ADVICE = [MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLD] as const;
const READ_WRITE = PROT_READ | PROT_WRITE;

function startMadvise(world: World, dice: Dice): void {
  const range = pickRange(world, dice, MOST_PAGES);
  if (range === null) return;
  const { process, first, count } = range;
  const advice = dice.pick(ADVICE);
  world.begin('madvise', async () => {
    const length = count * PAGE_SIZE;
    const status = await doMadvise(process.mm, arenaAddress(first), length, advice);
    // What refuses depends on the advice; memory that may be read and written refuses none.
    const isPlain = range.states.every(
      ({ prot, content }) => (prot & READ_WRITE) === READ_WRITE && prot > 0 && content !== null,
    );
    if (isPlain) checkAnswer(world, 'madvise', range, status, true, []);
  });
}

/** See the file header. */
export const MADVISE_OPERATIONS: readonly Operation[] = [
  { name: 'madvise', weight: 1, isTask: true, start: startMadvise },
];
