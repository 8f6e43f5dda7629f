/** process_vm_readv and process_vm_writev: one process copies words of another. */
import { errno } from '../../base/errno.ts';
import { PROT_READ, PROT_WRITE } from '../../mm/mm-types.ts';
import { processVmReadv, processVmWritev } from '../../mm/process-vm-access.ts';
import type { ProcessVmCopy } from '../../mm/process-vm-access.ts';
import { copyFromUser, copyToUser } from '../../mm/uaccess.ts';
import { arenaAddress, bufferAddress } from '../arena.ts';
import type { Dice } from '../dice.ts';
import { pickRange } from '../operation.ts';
import type { Operation, SimRange } from '../operation.ts';
import { RangeWrite } from '../process.ts';
import type { SimProcess } from '../process.ts';
import { SLOTS } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { World } from '../world.ts';

const WORD = 4;

/** A word of some process, and the process that copies it, by way of a buffer of its own. */
interface Target {
  readonly range: SimRange;
  readonly local: SimProcess;
  readonly slot: number;
}

function pickTarget(world: World, dice: Dice): Target | null {
  const range = pickRange(world, dice, 1);
  const local = world.pickProcess(dice);
  if (range === null || local === null) return null;
  return { range, local, slot: dice.below(SLOTS.length) };
}

function copyOf({ range, local, slot }: Target, task: number): ProcessVmCopy {
  return {
    local: local.mm,
    localAddr: bufferAddress(task),
    remote: range.process.mm,
    remoteAddr: arenaAddress(range.first) + SLOTS[slot]! * WORD,
    length: WORD,
  };
}

function checkDone(world: World, what: string, target: Target, done: number, right: number): void {
  const { range, local } = target;
  world.note(done);
  world.log?.(`${what} ${range.toString()} by ${local.slot} ends with ${done}`);
  if (!range.isStable || local.isDying) return;
  const { prot, content } = range.states[0]!;
  const may = prot > 0 && (prot & right) !== 0 && content !== null;
  if (done === (may ? WORD : errno.EFAULT)) return;
  if (may && world.excuses().length > 0) return;
  violated(`${what} of ${range.toString()} answers ${done}`);
}

function startReadv(world: World, dice: Dice): void {
  const target = pickTarget(world, dice);
  if (target === null) return;
  const { range, local, slot } = target;
  world.begin('readv', async (task) => {
    const { content } = range.states[0]!;
    const reader = content?.watch() ?? null;
    const done = await processVmReadv(copyOf(target, task));
    const isKnown = done === WORD && range.isStable;
    if (reader !== null) content!.unwatch(reader);
    const bytes = new Uint8Array(WORD);
    if (isKnown && (await copyFromUser(local.mm, bufferAddress(task), bytes)) === 0) {
      const value = new Uint32Array(bytes.buffer)[0]!;
      world.note(value);
      const seen = reader?.seen[slot] ?? null;
      if (seen !== null && !seen.includes(value)) {
        const could = seen.map((one) => one.toString(16)).join(' or ');
        violated(`readv of ${range.toString()}.${slot} finds ${value.toString(16)}, not ${could}`);
      }
    }
    checkDone(world, 'readv', target, done, PROT_READ);
  });
}

function startWritev(world: World, dice: Dice): void {
  const target = pickTarget(world, dice);
  if (target === null) return;
  const { range, local, slot } = target;
  const { process, first } = range;
  const value = world.newValue();
  const write = new RangeWrite(false, first, 1, (_, one) => (one === slot ? value : null));
  const source = new Uint8Array(Uint32Array.of(value).buffer);
  world.begin('writev', async (task) => {
    if ((await copyToUser(local.mm, bufferAddress(task), source)) !== 0) return;
    process.beginWrite(write);
    const done = await processVmWritev(copyOf(target, task));
    process.endWrite(write, done === WORD, false);
    checkDone(world, 'writev', target, done, PROT_WRITE);
  });
}

/** See the file header. */
export const PROCESS_VM_OPERATIONS: readonly Operation[] = [
  { name: 'readv', weight: 0.4, isTask: true, start: startReadv },
  { name: 'writev', weight: 0.4, isTask: true, start: startWritev },
];
