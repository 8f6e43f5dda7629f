/*
 * Files, private copies of their pages, anonymous memory, swap space and a device, changed at
 * random by two generations of processes. A model of bytes says what every load has to give; all
 * invariants are checked after each step. A failure names the seed that repeats it.
 */
import { expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { filemapRead, genericFileWrite } from '../../../src/mm/filemap.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import { shmemPut } from '../../../src/mm/shmem.ts';
import type { ShmemInode } from '../../../src/mm/shmem.ts';
import { swapon } from '../../../src/mm/swapfile.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  shmemFallocate,
  shmemTruncate,
} from '../../../src/mm/truncate.ts';
import { FAULT_OK, FAULT_SIGBUS, copyFromUser, copyToUser } from '../../../src/mm/uaccess.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { pageoutRange } from '../../../src/mm/vmscan.ts';
import { RW, expectSync } from './fixture.ts';
import { makeFile } from './file-rig.ts';
import { checkAtRest, makeBench } from './migration.ts';
import type { Bench } from './migration.ts';

const PAGES = 6;
const STEPS = 400;
const SLOTS = 10;
const MAX_PROCESSES = 4;

/** The three kinds of memory that each process has, PAGES long each. */
const KINDS = ['anonymous', 'shared', 'private'] as const;

/** A process as it should be: first bytes of its pages; null = what the file says. */
interface ModelProcess {
  readonly mm: MmStruct;
  readonly anonymous: number[];
  readonly copies: (number | null)[];
}

class World {
  readonly bench: Bench = makeBench(160);
  readonly random: Prng;
  readonly inode: ShmemInode;
  readonly bases: number[];
  /** First byte of each page of the file. */
  readonly file: number[] = Array.from({ length: PAGES }, () => 0);
  filePages = PAGES;
  readonly processes: ModelProcess[] = [];

  constructor(seed: number) {
    this.random = new Prng(seed);
    const { sys, mm } = this.bench;
    expect(swapon(sys, SLOTS)).toBe(0);
    this.inode = makeFile(sys, PAGES * PAGE_SIZE);
    const length = PAGES * PAGE_SIZE;
    const flags = [MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED, MAP_PRIVATE];
    this.bases = flags.map((bits) =>
      expectSync(doMmap(mm, { length, prot: RW, flags: bits, inode: this.inode })),
    );
    const anonymous = Array.from({ length: PAGES }, () => 0);
    const copies = Array.from({ length: PAGES }, () => null);
    this.processes.push({ mm, anonymous, copies });
  }

  /** What a load of the first byte of a page gives; null = SIGBUS. */
  expected(process: ModelProcess, kind: number, page: number): number | null {
    if (kind === 0) return process.anonymous[page]!;
    const copy = kind === 2 ? process.copies[page]! : null;
    if (copy !== null) return copy;
    return page < this.filePages ? this.file[page]! : null;
  }

  checkLoad(process: ModelProcess, kind: number, page: number): void {
    const byte = new Uint8Array(1);
    const fault = { outcome: FAULT_OK, address: 0 };
    expectSync(copyFromUser(process.mm, this.bases[kind]! + page * PAGE_SIZE, byte, fault));
    const seen = fault.outcome === FAULT_OK ? byte[0]! : null;
    expect(fault.outcome === FAULT_OK || fault.outcome === FAULT_SIGBUS).toBe(true);
    expect(seen, `${KINDS[kind]} page ${page}`).toBe(this.expected(process, kind, page));
  }

  store(process: ModelProcess, kind: number, page: number): void {
    const value = 1 + this.random.below(255);
    const fault = { outcome: FAULT_OK, address: 0 };
    const addr = this.bases[kind]! + page * PAGE_SIZE;
    expectSync(copyToUser(process.mm, addr, Uint8Array.of(value), fault));
    const isThere = this.expected(process, kind, page) !== null;
    expect(fault.outcome).toBe(isThere ? FAULT_OK : FAULT_SIGBUS);
    if (!isThere) return;
    if (kind === 0) process.anonymous[page] = value;
    else if (kind === 1) this.file[page] = value;
    else process.copies[page] = value;
  }

  async truncate(pages: number): Promise<void> {
    expect(await shmemTruncate(this.inode, pages * PAGE_SIZE)).toBe(0);
    for (let page = Math.min(pages, this.filePages); page < PAGES; page++) this.file[page] = 0;
    // Growing gives nothing back: copies beyond an old end have gone with it.
    if (pages < this.filePages) {
      for (const { copies } of this.processes) copies.fill(null, pages);
    }
    this.filePages = pages;
  }

  async punch(page: number): Promise<void> {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    expect(await shmemFallocate(this.inode, mode, page * PAGE_SIZE, PAGE_SIZE)).toBe(0);
    this.file[page] = 0;
  }

  async writeFile(page: number): Promise<void> {
    const value = 1 + this.random.below(255);
    const at = page * PAGE_SIZE;
    expect(await genericFileWrite(this.inode, at, Uint8Array.of(value))).toBe(1);
    this.file[page] = value;
    // A file ends after the last byte that was written; the rest of its last page is zeroes.
    if (page >= this.filePages) this.filePages = page + 1;
  }

  fork(parent: ModelProcess): void {
    if (this.processes.length === MAX_PROCESSES) return;
    const mm = expectSync(dupMmap(parent.mm));
    if (typeof mm === 'number') throw new Error(`fork ${mm}`);
    const { anonymous, copies } = parent;
    this.processes.push({ mm, anonymous: [...anonymous], copies: [...copies] });
  }

  exit(at: number): void {
    if (this.processes.length === 1) return;
    const [process] = this.processes.splice(at, 1);
    expectSync(mmput(process!.mm));
  }

  async step(): Promise<string> {
    const { random } = this;
    const at = random.below(this.processes.length);
    const process = this.processes[at]!;
    const [kind, page] = [random.below(3), random.below(PAGES)];
    const start = this.bases[kind]! + page * PAGE_SIZE;
    const count = 1 + random.below(PAGES - page);
    const what = random.below(16);
    if (what < 4) this.store(process, kind, page);
    else if (what < 6) this.checkLoad(process, kind, page);
    else if (what < 9) {
      const vma = vmaLookup(process.mm, start)!;
      pageoutRange(vma, start, start + count * PAGE_SIZE);
    } else if (what < 12) expectSync(this.bench.device.migrateIn(process.mm, start, count));
    else if (what === 12) await this.truncate(random.below(PAGES + 1));
    else if (what === 13) await this.punch(page);
    else if (what === 14) await this.writeFile(page);
    else if (random.below(2) === 0) this.fork(process);
    else this.exit(at);
    return `${what} of process ${at}, ${KINDS[kind]} page ${page}`;
  }

  checkAll(): void {
    for (const process of this.processes) {
      for (let kind = 0; kind < 3; kind++) {
        for (let page = 0; page < PAGES; page++) this.checkLoad(process, kind, page);
      }
    }
    for (let page = 0; page < this.filePages; page++) {
      const byte = new Uint8Array(1);
      expect(filemapRead(this.inode, page * PAGE_SIZE, byte)).toBe(1);
      expect(byte[0], `file page ${page}`).toBe(this.file[page]);
    }
  }

  checkRest(): void {
    checkAtRest(this.bench, { inodeHandles: new Map([[this.inode, 1]]) });
  }
}

test.each([1, 2, 3, 4, 5, 6])('files, swap, fork and a device, seed %d', async (seed) => {
  const world = new World(seed);
  const { sys, device } = world.bench;
  const free = sys.pageAllocator.freePages;
  const done: string[] = [];
  try {
    for (let i = 0; i < STEPS; i++) {
      done.push(await world.step());
      world.checkRest();
      if (i % 40 === 39) world.checkAll();
    }
    world.checkAll();
    world.checkRest();
  } catch (error) {
    throw new Error(`seed ${seed}, after ${done.length} steps: ${done.slice(-5).join('; ')}`, {
      cause: error,
    });
  }
  // None of it was idle.
  for (const counter of ['pswpin', 'pswpout', 'cow_copy', 'device_private_fault'] as const) {
    expect(sys.vmstat.read(counter), counter).toBeGreaterThan(0);
  }
  for (const { mm } of world.processes) expectSync(mmput(mm));
  shmemPut(world.inode);
  expect([device.used, sys.swap!.freeSlots, sys.pageAllocator.freePages]).toEqual([0, SLOTS, free]);
});
