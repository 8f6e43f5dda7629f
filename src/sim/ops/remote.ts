/** Memory of a process as a debugger reads and writes it. */
import { accessRemoteVm } from '../../mm/access-remote-vm.ts';
import { FOLL_WRITE } from '../../mm/gup.ts';
import { PROT_READ, PROT_WRITE } from '../../mm/mm-types.ts';
import { arenaAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { pickRange } from '../operation.ts';
import type { Operation, SimRange } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import { SLOTS, UNMAPPED } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const WORD = 4;

function checkDone(world: World, what: string, range: SimRange, done: number, right: number) {
  world.note(done);
  world.log?.(`${what} ${range.toString()} ends with ${done}`);
  if (!range.isStable) return;
  const { prot, content } = range.states[0]!;
  const may = prot !== UNMAPPED && (prot & right) !== 0 && content !== null;
  if (may === (done === WORD) || (may && world.excuses().length > 0)) return;
  violated(`${what} of ${range.toString()} does ${done} bytes`);
}

function checkWord({ process, first }: SimRange, slot: number, value: number): void {
  const place = process.places[first]!;
  if (place.mayBe(slot, value)) return;
  violated(`a debugger reads ${value.toString(16)}, not ${place.describe(slot)}`);
}

function startRemoteRead(world: World, dice: Dice): void {
  const range = pickRange(world, dice, 1);
  if (range === null) return;
  const { process, first } = range;
  const slot = dice.below(SLOTS.length);
  const bytes = new Uint8Array(WORD);
  const address = arenaAddress(first) + SLOTS[slot]! * WORD;
  world.begin('remoteRead', async () => {
    const done = accessRemoteVm(process.mm, address, bytes, 0);
    // What it read after a wait may have been overwritten by the time that we hear of it.
    if (done === WORD) checkWord(range, slot, new Uint32Array(bytes.buffer)[0]!);
    checkDone(world, 'remoteRead', range, await done, PROT_READ);
  });
}

function startRemoteWrite(world: World, dice: Dice): void {
  const range = pickRange(world, dice, 1);
  if (range === null) return;
  const { process, first } = range;
  const at = dice.below(SLOTS.length);
  const value = world.newValue();
  const write = new RangeWrite(false, first, 1, (_, slot) => (slot === at ? value : null));
  const source = new Uint8Array(Uint32Array.of(value).buffer);
  const address = arenaAddress(first) + SLOTS[at]! * WORD;
  world.begin('remoteWrite', async () => {
    process.beginWrite(write);
    const done = await accessRemoteVm(process.mm, address, source, FOLL_WRITE);
    process.endWrite(write, done === WORD, false);
    checkDone(world, 'remoteWrite', range, done, PROT_WRITE);
  });
}

/** See the file header. */
export const REMOTE_OPERATIONS: readonly Operation[] = [
  { name: 'remoteRead', weight: 0.5, isTask: true, start: startRemoteRead },
  { name: 'remoteWrite', weight: 0.5, isTask: true, start: startRemoteWrite },
];
