/** The life of processes: spawn, fork, exit. */
import { errno } from '../../base/errno.ts';
import { dupMmap, mmput } from '../../mm/fork.ts';
import type { MmStruct } from '../../mm/mm-types.ts';
import type { Dice } from '../dice.ts';
import type { Operation } from '../operation.ts';
import { SimProcess } from '../process.ts';
import { nothing } from '../shadow.ts';
import type { PlaceState } from '../shadow.ts';
import { violated } from '../violation.ts';
import type { ForkInFlight, World } from '../world.ts';

function startSpawn(world: World): void {
  const slot = world.processes.indexOf(null);
  if (slot < 0) return;
  const isBorn = world.spawn(slot);
  world.log?.(`spawn ${slot}: ${isBorn}`);
  if (!isBorn && !world.isMemoryShort()) violated('there is no memory for an address space');
}

function startFork(world: World, dice: Dice): void {
  const parent = world.pickProcess(dice);
  if (parent === null || parent.changing > 0 || !world.processes.includes(null)) return;
  const fork: ForkInFlight = { parent, snapshots: new Map<MmStruct, PlaceState[]>() };
  world.forks.push(fork);
  parent.forking++;
  world.begin('fork', async () => {
    const child = await dupMmap(parent.mm);
    parent.forking--;
    world.forks.splice(world.forks.indexOf(fork), 1);
    if (typeof child === 'number') {
      const dead = parent.isDying ? [errno.ESRCH] : [];
      world.expectStatus('fork', child, [...world.excuses(), ...dead]);
      return;
    }
    const states = fork.snapshots.get(child);
    if (states === undefined) violated('a fork is seen when it happens');
    const slot = world.processes.indexOf(null);
    world.log?.(`fork ${parent.slot} makes ${slot}`);
    if (slot < 0) {
      await mmput(child);
      return;
    }
    const process = new SimProcess(slot, child);
    states.forEach((state, page) => process.replace(page, state));
    world.processes[slot] = process;
  });
}

function startExit(world: World, dice: Dice): void {
  const process = world.pickProcess(dice);
  const alive = world.processes.filter((one) => one !== null && !one.isDying);
  if (process !== null && alive.length > 1) endProcess(world, process, dice.chance(0.5));
}

/** Begins the exit of a process: its devices are closed before or after its memory goes. */
export function endProcess(world: World, process: SimProcess, closeFirst: boolean): void {
  process.isDying = true;
  process.places.forEach((_, page) => process.change(page, nothing()));
  const close = async (): Promise<void> => {
    for (let minor = 0; minor < process.mirrors.length; minor++) {
      const mirror = process.mirrors[minor]!;
      process.mirrors[minor] = null;
      if (mirror !== null) await mirror.close();
    }
  };
  world.begin('exit', async () => {
    if (closeFirst) await close();
    await process.monitor?.close();
    await mmput(process.mm);
    if (!closeFirst) await close();
    world.processes[process.slot] = null;
    world.log?.(`exit ${process.slot}`);
  });
}

/** See the file header. */
export const PROCESS_OPERATIONS: readonly Operation[] = [
  { name: 'spawn', weight: 0.2, start: startSpawn },
  { name: 'fork', weight: 0.6, isTask: true, start: startFork },
  { name: 'exit', weight: 0.3, isTask: true, start: startExit },
];
