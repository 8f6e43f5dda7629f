/*
 * What the snippets of docs/history.md start from: one process with filled pages, and one open
 * device. Where a form of old kernels was a driver's, the snippet needs the insides of the machine.
 */
import { bootMachine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { LocalMachine, Process, TestDevice } from '../../src/index.ts';
import type { DeviceMemory } from '../../src/driver/device-memory.ts';
import { HMM_PFN_VALID } from '../../src/mm/hmm.ts';
import type { HmmRange } from '../../src/mm/hmm.ts';
import { MIGRATE_VMA_SELECT_SYSTEM, NO_FAULT_PAGE } from '../../src/mm/migrate-types.ts';
import type { MigrateVma } from '../../src/mm/migrate-types.ts';
import type { MmStruct, System } from '../../src/mm/mm-types.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalReadBegin,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../../src/mm/mmu-notifier.ts';
import { ptePfn } from '../../src/mm/swapops.ts';
import { vmaLookup } from '../../src/mm/vma-lookup.ts';

const MIB = 2 ** 20;

export interface Start {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly device: TestDevice;
  /** Where the pages are mapped; each byte of page i is i + 1. */
  readonly addr: number;
  readonly sys: System;
  readonly mm: MmStruct;
  readonly memory: DeviceMemory;
}

/** Boots a small machine and fills `npages` pages. */
export async function start(npages: number): Promise<Start> {
  const size = { ramBytes: 8 * MIB, deviceBytes: 2 * MIB, chunkBytes: MIB };
  const machine = await bootMachine({ engine: 'cpu', ...size });
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  const length = npages * PAGE_SIZE;
  const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
  for (let i = 0; i < npages; i++) {
    await process.write(addr + i * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(i + 1));
  }
  const { sys, devices } = machine.kernel;
  const [mm] = sys.mms;
  const memory = devices[0]?.memory;
  if (mm === undefined || memory === undefined) throw new Error('the machine is not complete');
  return { machine, process, device, addr, sys, mm, memory };
}

/** The first byte of each page, as the CPU loads it. */
export async function firstBytes(
  { process, addr }: Pick<Start, 'process' | 'addr'>,
  npages: number,
): Promise<number[]> {
  const bytes = await process.read(addr, npages * PAGE_SIZE);
  return Array.from({ length: npages }, (_, i) => bytes[i * PAGE_SIZE] ?? -1);
}

/** The page behind the entry of an address. */
export function pageAt({ sys, mm }: Pick<Start, 'sys' | 'mm'>, addr: number): number {
  const { pageTables } = sys;
  return ptePfn(pageTables.words[pageTables.pteOffset(mm.pgd, addr)] ?? 0);
}

/** Arguments of a migration of `npages` pages of RAM to the device. */
export function migrateArgs(
  { mm, addr, memory }: Pick<Start, 'mm' | 'addr'> & { readonly memory: { owner: unknown } },
  npages: number,
): MigrateVma {
  const vma = vmaLookup(mm, addr);
  if (vma === null) throw new Error('nothing is mapped there');
  return {
    vma,
    start: addr,
    end: addr + npages * PAGE_SIZE,
    src: new Uint32Array(npages),
    dst: new Uint32Array(npages),
    cpages: 0,
    npages: 0,
    pgmapOwner: memory.owner,
    flags: MIGRATE_VMA_SELECT_SYSTEM,
    faultPage: NO_FAULT_PAGE,
    reasons: new Uint8Array(npages),
  };
}

/** A range for hmm_range_fault over `npages` pages, with a notifier of its own. */
export async function hmmRange({ mm, addr, memory }: Start, npages: number): Promise<HmmRange> {
  const notifier = newMmuIntervalNotifier(null);
  mmuIntervalNotifierInsert(notifier, mm, addr, npages * PAGE_SIZE, {
    invalidate: (sub, _range, seq) => {
      mmuIntervalSetSeq(sub, seq);
      return true;
    },
  });
  return {
    notifier,
    notifierSeq: await mmuIntervalReadBegin(notifier),
    start: addr,
    end: addr + npages * PAGE_SIZE,
    hmmPfns: new Uint32Array(npages),
    defaultFlags: 0,
    pfnFlagsMask: 0,
    devPrivateOwner: memory.owner,
  };
}

/** Which entries of a range are valid, as text: "v" or "-". */
export function validity({ hmmPfns }: HmmRange): string {
  return Array.from(hmmPfns, (entry) => ((entry & HMM_PFN_VALID) === 0 ? '-' : 'v')).join('');
}
