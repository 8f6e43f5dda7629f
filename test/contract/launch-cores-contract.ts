/*
 * CPU cores in threads and kernels of a device at the same pages at the same time: no store of
 * either is lost, and both get on.
 */
import { expect } from 'vitest';
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PAGE_SIZE } from '../../src/index.ts';
import type { KernelReport, Machine } from '../../src/index.ts';
import { place } from './launch-contract.ts';

const PAGES = 16;
const GROUPS = 4;

/** How much of it. */
export interface CoresAtWork {
  readonly cores: number;
  /** Words that each core counts up, again and again through all pages. */
  readonly rounds: number;
  /** Who decides what moves; nobody by default. */
  readonly policy?: string;
  /** The memory is shared, so it stays in RAM: kernels have it lent, cores wait meanwhile. */
  readonly isShared?: boolean;
}

/**
 * Cores add to counters by atomics and keep words of their own on the same pages, while kernels add
 * to the counters, until the cores are done.
 *
 * @param entry the program count-beside.js
 */
export async function countTogether(
  machine: Machine,
  entry: string,
  { cores, rounds, policy, isShared = false }: CoresAtWork,
): Promise<void> {
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const rig = { machine, process, device };
  const kernel = await device.compileKernel({ shape: 'histogram', window: 2 });
  const placed = await place(
    rig,
    'histogram',
    GROUPS,
    3,
    MAP_ANONYMOUS | (isShared ? MAP_SHARED : MAP_PRIVATE),
  );
  const { args } = placed.one;
  const base = placed.origin + args[1]!;
  const homeward = machine.vmstat.read('device_private_fault');
  const events = { pages: PAGES, base, rounds };
  const programs = await Promise.all(
    Array.from({ length: cores }, (_, core) => process.run(entry, { ...events, core })),
  );
  const state = { isDone: false };
  const exits = Promise.all(programs.map(({ exited }) => exited)).finally(() => {
    state.isDone = true;
  });
  const reports: KernelReport[] = [];
  while (!state.isDone) {
    const request = { workgroups: GROUPS, args, origin: placed.origin };
    const decided = policy === undefined ? {} : { policy };
    reports.push(await device.launch(kernel, { ...request, ...decided }));
  }
  for (const exit of await exits) expect(exit).toMatchObject({ status: 0, signal: '' });
  for (const report of reports) expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  const bytes = await process.read(base, PAGES * PAGE_SIZE);
  const words = new Uint32Array(bytes.buffer);
  let counted = 0;
  for (let page = 0; page < PAGES; page++) {
    counted += words[page * 1024]!;
    const own = [...words.subarray(page * 1024 + 1, page * 1024 + 1 + cores)];
    expect(own).toEqual(Array.from({ length: cores }, () => rounds / PAGES));
  }
  expect(counted).toBe(reports.length * GROUPS * 64 + cores * rounds);
  await process.exit();
  if (isShared) {
    for (const { pages } of reports) {
      expect(pages).toMatchObject({ mapped: 0, refused: 0 });
      expect(pages.remote).toBeGreaterThan(0);
    }
    expect(machine.vmstat.read('device_private_fault')).toBe(homeward);
    return;
  }
  // They were at the same pages: cores brought some home, and kernels took them back.
  expect(machine.vmstat.read('device_private_fault')).toBeGreaterThan(homeward);
  const erased = reports.reduce((sum, { pages }) => sum + pages.erased, 0);
  const mapped = reports.reduce((sum, { pages }) => sum + pages.mapped, 0);
  expect(mapped).toBeGreaterThan(PAGES);
  expect(erased).toBeGreaterThan(0);
}
