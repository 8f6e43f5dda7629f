/*
 * Slots of cores are used again: what the kernel wants of a core that has gone must not happen to
 * the one that got its slot.
 */
import { expect, test } from 'vitest';
import { atomicsOf } from '../../../src/cpu/atomics-port.ts';
import { CoreGate, markCoreDead } from '../../../src/cpu/shootdown.ts';
import { flushTlbRange } from '../../../src/mm/tlb.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { KernelCores } from '../../../src/worker/kernel-cores.ts';
import type { HostRequest } from '../../../src/worker/protocol-cores.ts';
import { makeMm, makeSystem } from '../mm/fixture.ts';

const port = atomicsOf(() => performance.now());

/** Cores without threads: what they do is done here. */
class Scene {
  readonly sys: System = makeSystem();
  readonly cores = new KernelCores(this.sys, () => Promise.resolve(0));
  /** Serial numbers of the cores whose threads the kernel wants to end. */
  readonly condemned: number[] = [];

  constructor() {
    const postMessage = ({ end }: HostRequest): number => this.condemned.push(end);
    this.cores.attachHost({ postMessage } as unknown as MessagePort);
  }

  /** A core that runs. */
  run(pid: number, mm: MmStruct): { slot: number; serial: number; gate: CoreGate } {
    const bell = { onmessage: null, close: () => undefined } as unknown as MessagePort;
    const image = this.cores.start(pid, mm, bell);
    if (typeof image === 'number') throw new Error(`no core: ${image}`);
    const { slot, serial } = image;
    const { map } = this.cores;
    return { slot, serial, gate: new CoreGate(port, map.words, map.block(slot), () => undefined) };
  }

  die(slot: number): void {
    const { map } = this.cores;
    markCoreDead(port, map.words, map.block(slot));
    expect(this.cores.end(slot)).toBe(0);
  }
}

test('a silent core that has ended is not waited for in whoever has its slot', async () => {
  const scene = new Scene();
  const mm = makeMm(scene.sys);
  const other = makeMm(scene.sys);
  const first = scene.run(1, mm);
  first.gate.unpark();
  const settled = scene.cores.settle(mm);
  expect(settled).toBeInstanceOf(Promise);
  scene.die(first.slot);
  const second = scene.run(2, other);
  expect([second.slot, second.serial]).toEqual([first.slot, first.serial + 1]);
  flushTlbRange(other, 0, 4096, 1);
  second.gate.unpark();
  await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, 1500))]);
  expect(scene.condemned).toEqual([]);
});

test('a core that stays silent is ended, once', async () => {
  const scene = new Scene();
  const mm = makeMm(scene.sys);
  const first = scene.run(1, mm);
  first.gate.unpark();
  const settled = scene.cores.settle(mm);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  expect(scene.condemned).toEqual([first.serial]);
  scene.die(first.slot);
  await settled;
});
