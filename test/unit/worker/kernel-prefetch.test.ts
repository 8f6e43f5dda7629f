/* Prefetch hints in the kernel: what they bring, and that there is a bound to everything. */
import { describe, expect, test } from 'vitest';
import { PAGE_RAM, PAGE_SIZE } from '../../../src/index.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { MAX_HINTS, MAX_HINT_BYTES, PrefetchQueue } from '../../../src/worker/kernel-prefetch.ts';
import { expectBytes, makeRig, mapFilled, pattern, run } from '../driver/rig.ts';
import type { Rig } from '../driver/rig.ts';

interface QueueRig extends Rig {
  readonly queue: PrefetchQueue;
  readonly mm: MmStruct;
}

async function makeQueue(): Promise<QueueRig> {
  const rig = await makeRig();
  const { sys, devices } = rig.machine.kernel;
  const [mirror] = devices[0]!.mirrors;
  return { ...rig, queue: new PrefetchQueue(sys, devices), mm: mirror!.mm };
}

async function homePages({ process }: Rig, addr: number, npages: number): Promise<number> {
  const codes = await process.pageMap(addr, npages);
  return codes.filter((code) => code === PAGE_RAM).length;
}

function counts({ machine }: Rig): Record<string, number> {
  const names = ['prefetch_hints', 'prefetch_hints_merged', 'prefetch_hints_dropped'] as const;
  return Object.fromEntries(names.map((name) => [name.slice(9), machine.vmstat.read(name)]));
}

/** Lets the queue work until nothing more comes. */
async function settle(rig: Rig, addr: number, npages: number, wanted: number): Promise<void> {
  await expect.poll(() => homePages(rig, addr, npages)).toBe(wanted);
}

describe('prefetch hints', () => {
  test('bring the device pages of their range home, and no others', async () => {
    const rig = await makeQueue();
    const addr = await mapFilled(rig, 64);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 64);
    // From the middle of a page to the middle of another one.
    rig.queue.add(rig.mm, addr + 10 * PAGE_SIZE + 100, 5 * PAGE_SIZE);
    await settle(rig, addr, 64, 6);
    const codes = await rig.process.pageMap(addr, 64);
    expect([...codes.keys()].filter((page) => codes[page] === PAGE_RAM)).toEqual([
      10, 11, 12, 13, 14, 15,
    ]);
    expect(rig.machine.vmstat.read('prefetch_hinted')).toBe(6);
    expectBytes(await rig.process.read(addr, 64 * PAGE_SIZE), pattern(64, 0));
    expect(rig.machine.vmstat.read('prefetch_used')).toBe(6);
    await rig.machine.close();
  });

  test('that touch each other are served as one', async () => {
    const rig = await makeQueue();
    const addr = await mapFilled(rig, 64);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 64);
    const before = (await rig.machine.counters()).engine.lists;
    // The first is taken at once; the others wait for it.
    rig.queue.add(rig.mm, addr, PAGE_SIZE);
    for (const page of [10, 12, 11, 13]) {
      rig.queue.add(rig.mm, addr + page * PAGE_SIZE, PAGE_SIZE);
    }
    await settle(rig, addr, 64, 5);
    expect(counts(rig)).toEqual({ hints: 5, hints_merged: 2, hints_dropped: 0 });
    expect((await rig.machine.counters()).engine.lists - before).toBeLessThan(5);
    await rig.machine.close();
  });

  test('beyond the bound are dropped', async () => {
    const rig = await makeQueue();
    const addr = await mapFilled(rig, 128);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 128);
    for (let i = 0; i < 2 * MAX_HINTS; i++) rig.queue.add(rig.mm, addr + 2 * i * PAGE_SIZE, 1);
    expect(counts(rig)['hints_dropped']).toBe(MAX_HINTS);
    await settle(rig, addr, 128, MAX_HINTS);
    await rig.machine.close();
  });

  test('are no longer than their bound', async () => {
    const rig = await makeQueue();
    const { queue, mm, machine } = rig;
    const addr = await mapFilled(rig, 8);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 8);
    queue.add(mm, addr + 4 * PAGE_SIZE - MAX_HINT_BYTES, 2 ** 30);
    await settle(rig, addr, 8, 4);
    expect(machine.vmstat.read('prefetch_hinted')).toBe(4);
    await machine.close();
  });

  test('at no range of addresses are dropped', async () => {
    const rig = await makeQueue();
    const bad: [number, number][] = [
      [NaN, 4096],
      [-4096, 4096],
      [4096, 0],
      [4096, NaN],
      [4096, -1],
      [2 ** 47, 4096],
      [0.5, 4096],
      [Infinity, 4096],
    ];
    for (const [addr, length] of bad) rig.queue.add(rig.mm, addr, length);
    expect(counts(rig)).toEqual({ hints: 8, hints_merged: 0, hints_dropped: 8 });
    // Where nothing is mapped there is nothing to do.
    rig.queue.add(rig.mm, 2 ** 40, 4096);
    await Promise.resolve();
    expect(counts(rig)['hints_dropped']).toBe(8);
    await rig.machine.close();
  });

  test('of an address space that ends are forgotten', async () => {
    const rig = await makeQueue();
    const addr = await mapFilled(rig, 64);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 64);
    for (let page = 0; page < 64; page += 2) rig.queue.add(rig.mm, addr + page * PAGE_SIZE, 1);
    rig.queue.forget(rig.mm);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(rig.machine.vmstat.read('prefetch_hinted')).toBeLessThan(5);
    await rig.machine.close();
  });
});
