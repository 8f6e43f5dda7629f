/*
 * Slots of cores are used again: what the kernel wants of a core that has gone must not happen to
 * the one that got its slot.
 */
import { expect, test, vi } from 'vitest';
import { atomicsOf } from '../../../src/cpu/atomics-port.ts';
import { CORE_FAULT_KIND, CORE_TRAPS } from '../../../src/cpu/control.ts';
import { FAULT_MAJOR } from '../../../src/cpu/fault-latency.ts';
import { RECORD_FAULT, RECORD_SYSCALL, pushRecord } from '../../../src/cpu/fault-ring.ts';
import { writeLetter } from '../../../src/cpu/letter.ts';
import { CoreGate, markCoreDead } from '../../../src/cpu/shootdown.ts';
import { SIGKILL } from '../../../src/cpu/signals.ts';
import { hasTrapped } from '../../../src/cpu/trap.ts';
import { flushTlbRange } from '../../../src/mm/tlb.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { ACCESS_WRITE, accessiblePage } from '../../../src/mm/uaccess.ts';
import { KernelCores } from '../../../src/worker/kernel-cores.ts';
import type { HostRequest } from '../../../src/worker/protocol-cores.ts';
import { makeMm, makeSystem, mapAnon } from '../mm/fixture.ts';

const port = atomicsOf(() => performance.now());

/** A core that runs, as its thread would have it. */
interface Running {
  readonly slot: number;
  readonly serial: number;
  readonly gate: CoreGate;
  /** Makes the kernel look at the ring. */
  readonly ring: () => void;
}

/** Cores without threads: what they do is done here. */
class Scene {
  readonly sys: System = makeSystem();
  /** Names of the system calls that were made. */
  readonly calls: string[] = [];
  readonly cores = new KernelCores(this.sys, (_pid, call) => {
    this.calls.push(call);
    return Promise.resolve(0);
  });
  /** Serial numbers of the cores whose threads the kernel wants to end. */
  readonly condemned: number[] = [];

  constructor() {
    const postMessage = ({ end }: HostRequest): number => this.condemned.push(end);
    this.cores.attachHost({ postMessage } as unknown as MessagePort);
  }

  /** A core that runs. */
  run(pid: number, mm: MmStruct): Running {
    const bell = { onmessage: (): void => undefined, close: () => undefined };
    const image = this.cores.start(pid, mm, bell as unknown as MessagePort);
    if (typeof image === 'number') throw new Error(`no core: ${image}`);
    const { slot, serial } = image;
    const { map } = this.cores;
    const gate = new CoreGate(port, map.words, map.block(slot), () => undefined);
    return { slot, serial, gate, ring: () => bell.onmessage() };
  }

  /** Puts a trap into a core's ring: a fault, or the system call that its letter box holds. */
  trap({ slot, gate }: Running, kind: number, address = 0): void {
    const { map } = this.cores;
    port.add(map.words, map.block(slot) + CORE_TRAPS, 1);
    gate.park();
    pushRecord(port, map, { kind, slot, access: ACCESS_WRITE, address, length: 0 });
  }

  /** Whether a core waits for an answer. */
  waits({ slot }: Running): boolean {
    const { map } = this.cores;
    return hasTrapped(port, map.words, map.block(slot));
  }

  /** Lets what is under way come to its end. */
  async calm(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
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
  await expect.poll(() => scene.condemned).toEqual([first.serial]);
  scene.die(first.slot);
  await settled;
  expect(scene.condemned).toEqual([first.serial]);
});

test('a core that answers after all threads stood still is not ended', async () => {
  const scene = new Scene();
  const mm = makeMm(scene.sys);
  const first = scene.run(1, mm);
  first.gate.unpark();
  const settled = scene.cores.settle(mm);
  const begun = performance.now();
  const clock = vi.spyOn(performance, 'now').mockReturnValue(begun + 60_000);
  try {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
    first.gate.park();
    await settled;
  } finally {
    clock.mockRestore();
  }
  expect(scene.condemned).toEqual([]);
});

test('a fault served when its core has gone says nothing to whoever has its slot', async () => {
  const scene = new Scene();
  const { map } = scene.cores;
  const mm = makeMm(scene.sys);
  const mark = 77;
  for (const isGone of [true, false]) {
    const page = mapAnon(mm, 1);
    const first = scene.run(1, mm);
    await mm.mmapLock.writeLock();
    scene.trap(first, RECORD_FAULT, page);
    first.ring();
    expect(scene.waits(first)).toBe(true);
    if (isGone) scene.die(first.slot);
    const owner = isGone ? scene.run(2, makeMm(scene.sys)) : first;
    expect(owner.slot).toBe(first.slot);
    port.store(map.words, map.block(owner.slot) + CORE_FAULT_KIND, mark);
    mm.mmapLock.writeUnlock();
    await scene.calm();
    expect(accessiblePage(mm, page, ACCESS_WRITE)).not.toBe(0);
    const kind = port.load(map.words, map.block(owner.slot) + CORE_FAULT_KIND);
    expect(kind).toBe(isGone ? mark : FAULT_MAJOR);
    expect(scene.waits(owner)).toBe(false);
    scene.die(owner.slot);
  }
});

test('for a core that was told to end nothing is done, though it has asked before', async () => {
  for (const isTold of [true, false]) {
    const scene = new Scene();
    const mm = makeMm(scene.sys);
    const page = mapAnon(mm, 1);
    for (const kind of [RECORD_SYSCALL, RECORD_FAULT]) {
      const core = scene.run(1, mm);
      const ask = (): void => {
        writeLetter(scene.cores.map, core.slot, ['munmap', [page, 4096]]);
        scene.trap(core, kind, page);
      };
      ask();
      if (isTold) expect(scene.cores.signal(core.slot, SIGKILL)).toBe(0);
      core.ring();
      await scene.calm();
      expect(scene.waits(core)).toBe(false);
      // It has caught that, and asks again.
      ask();
      core.ring();
      await scene.calm();
      expect(scene.waits(core)).toBe(false);
      scene.die(core.slot);
    }
    expect(scene.calls).toEqual(isTold ? [] : ['munmap', 'munmap']);
    expect(accessiblePage(mm, page, ACCESS_WRITE) !== 0).toBe(!isTold);
  }
});
