/*
 * CPU cores in threads and kernels of a device at the same pages at the same time: no store of
 * either is lost, and both get on.
 */
import { expect } from 'vitest';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { DeviceKernel, KernelReport, Machine } from '../../src/index.ts';
import { place } from './launch-contract.ts';
import type { LaunchRig, Placed } from './launch-contract.ts';

const PAGES = 16;
const GROUPS = 4;
// Two or three do; with so many none has met a core.
const MAX_LAUNCHES = 2_000;

/** How much of it. */
export interface CoresAtWork {
  readonly cores: number;
  /** How often each core counts up the words of all pages, at least. */
  readonly laps: number;
  /** Who decides what moves; nobody by default. */
  readonly policy?: string;
  /** The memory is shared, so it stays in RAM: kernels have it lent, cores wait meanwhile. */
  readonly isShared?: boolean;
}

/** What has been seen of cores and kernels being in each other's way. */
interface Contact {
  readonly remote: number;
  readonly mapped: number;
  readonly erased: number;
  /** Faults of cores at pages that were in device memory. */
  readonly homeward: number;
}

/** Cores brought some pages home and kernels took them back; or had them lent, if they stay. */
function haveMet({ remote, mapped, erased, homeward }: Contact, isShared: boolean): boolean {
  if (isShared) return remote > 0;
  return homeward > 0 && erased > 0 && mapped > PAGES;
}

/** Launches one kernel after the other until cores and kernels have met, and sets the word then. */
async function launchUntilMet(
  { machine, process, device }: LaunchRig,
  { isShared = false, policy }: CoresAtWork,
  launch: { readonly kernel: DeviceKernel; readonly placed: Placed; readonly stop: number },
): Promise<{ readonly reports: KernelReport[]; readonly contact: Contact }> {
  const { kernel, placed, stop } = launch;
  const { origin } = placed;
  const request = { workgroups: GROUPS, args: placed.one.args, origin };
  const before = machine.vmstat.read('device_private_fault');
  const reports: KernelReport[] = [];
  for (;;) {
    reports.push(
      await device.launch(kernel, { ...request, ...(policy === undefined ? {} : { policy }) }),
    );
    const sum = (kind: 'remote' | 'mapped' | 'erased'): number =>
      reports.reduce((all, { pages }) => all + pages[kind], 0);
    const contact = {
      remote: sum('remote'),
      mapped: sum('mapped'),
      erased: sum('erased'),
      homeward: machine.vmstat.read('device_private_fault') - before,
    };
    if (!haveMet(contact, isShared) && reports.length < MAX_LAUNCHES) continue;
    // Whether they have met is for the test to say, when nobody runs any more.
    await process.write(stop, Uint8Array.of(1, 0, 0, 0));
    return { reports, contact };
  }
}

/**
 * Cores add to counters by atomics and keep words of their own on the same pages, while kernels add
 * to the counters, until both have been in each other's way.
 *
 * @param entry the program count-beside.js
 */
export async function countTogether(
  machine: Machine,
  entry: string,
  work: CoresAtWork,
): Promise<void> {
  const { cores, laps, isShared = false } = work;
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const rig = { machine, process, device };
  const kernel = await device.compileKernel({ shape: 'histogram', window: 2 });
  const kind = isShared ? MAP_SHARED : MAP_PRIVATE;
  const placed = await place(rig, 'histogram', GROUPS, 3, MAP_ANONYMOUS | kind);
  const prot = PROT_READ | PROT_WRITE;
  const flags = MAP_ANONYMOUS | MAP_PRIVATE;
  const stop = await process.mmap({ length: PAGE_SIZE, prot, flags });
  const base = placed.origin + placed.one.args[1]!;
  const programs = await Promise.all(
    Array.from({ length: cores }, (_, core) =>
      process.run(entry, { pages: PAGES, base, laps, stop, core }),
    ),
  );
  const { reports, contact } = await launchUntilMet(rig, work, { kernel, placed, stop });
  for (const { exited } of programs) {
    expect(await exited).toMatchObject({ status: 0, signal: '' });
  }
  for (const report of reports) expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  const bytes = await process.read(base, PAGES * PAGE_SIZE);
  const words = new Uint32Array(bytes.buffer);
  const done = [...words.subarray(1, 1 + cores)];
  for (const own of done) expect(own).toBeGreaterThanOrEqual(laps);
  let counted = 0;
  for (let page = 0; page < PAGES; page++) {
    counted += words[page * 1024]!;
    expect([...words.subarray(page * 1024 + 1, page * 1024 + 1 + cores)]).toEqual(done);
  }
  const byCores = PAGES * done.reduce((sum, own) => sum + own, 0);
  expect(counted).toBe(reports.length * GROUPS * 64 + byCores);
  await process.exit();
  expect(haveMet(contact, isShared), JSON.stringify(contact)).toBe(true);
  if (!isShared) return;
  for (const { pages } of reports) expect(pages).toMatchObject({ mapped: 0, refused: 0 });
  expect(contact.homeward).toBe(0);
}
