/*
 * Kernels over pages that stay in RAM: what the device may not have is lent to it for a pass, and
 * afterwards memory is what a run without faults leaves, nothing is lent any more, and every
 * invariant of the machine holds.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import {
  arg,
  at,
  GID,
  kernelOf,
  load,
  op,
  reduce,
  store,
  times,
  v,
} from '../../src/engine/vm/ir.ts';
import { CaseBuilder, SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { MADV_DONTNEED, PAGE_RAM, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { Process } from '../../src/index.ts';
import { ptePfn } from '../../src/mm/swapops.ts';
import { checkInvariants } from '../../src/sim/check-invariants.ts';
import { Aperture } from '../../src/driver/aperture.ts';
import { ACCESS_READ, ACCESS_WRITE, PTE_ALL, PTE_READ } from '../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { besides, mapCase, openMachineRig, runOnMachine } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

type EngineName = 'cpu' | 'webgpu';

const BASE = 0x10_0000;
const PAGE = 4096;
/** Compiling takes most of the time; the others run on WebGPU in vm-contract.ts. */
const SOME = ['swap', 'reduction', 'histogram', 'bfs'];

let rig: MachineRig;

/** Declares the suite for a machine's engine. */
export function describeAperture(engine: EngineName): void {
  describe(`kernels over pages that stay in RAM: ${engine}`, () => {
    beforeEach(async () => {
      rig = await openMachineRig(engine, 256);
    });
    afterEach(() => rig.machine.close());
    describeKinds(engine);
    describeMeanwhile();
    describeEnds();
  });
}

/** Nothing is lent, nobody waits, and all is accounted for. */
async function expectAtRest(): Promise<void> {
  const { machine, mirror } = rig;
  const { apertureLock } = mirror.device;
  // Free: taking it does not wait.
  expect(apertureLock.lock()).toBe(undefined);
  apertureLock.unlock();
  checkInvariants(machine.kernel.sys);
}

async function expectOracle(one: VmCase, addr: number, from: Process = rig.process): Promise<void> {
  expectMemory(one, await from.read(addr, one.bytes.length), oracleOf(one));
}

/** Whether a promise is settled, once everything that can go on has done so. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  return settled;
}

/** The bytes behind a page of RAM, as somebody who has pinned it knows them. */
function ramOf(addr: number): Uint8Array {
  const { mm } = rig.mirror;
  const { pageTables, ram } = mm.sys;
  const pfn = ptePfn(pageTables.words[pageTables.pteOffset(mm.pgd, addr)]!);
  return ram.subarray(pfn * PAGE, (pfn + 1) * PAGE);
}

/** A kernel that adds to each word: reads and writes every page, each word once. */
function adder(pages: number): VmCase {
  const words = pages * 1024;
  const ir = kernelOf('adder', 64, [
    load('x', at(arg(0), GID)),
    store(at(arg(0), GID), op(v('x'), '+', 7)),
  ]);
  const to = new CaseBuilder(BASE, 5);
  to.array(words, (i) => i * 3);
  return to.build('adder', ir, words / 64);
}

function describeKinds(engine: EngineName): void {
  const names = engine === 'cpu' ? SHAPE_NAMES : SOME;

  it('pinned pages: every shape, and none of them moves', { timeout: 120_000 }, async () => {
    for (const name of names) {
      const one = shapeCase(name, 4, BASE, 3);
      const addr = await mapCase(rig, one);
      const npages = one.bytes.length / PAGE;
      const pinned = await rig.process.pinUserPages(addr, npages);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report, name).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
      expect(pager.stats, name).toMatchObject({ mapped: 0, cancelled: 0 });
      expect(pager.aperture.stats.pages, name).toBeGreaterThan(0);
      expect([...(await rig.process.pageMap(addr, npages))]).toEqual(Array(npages).fill(PAGE_RAM));
      await expectOracle(one, addr);
      await pinned.release();
      await expectAtRest();
      await rig.process.munmap(addr, one.bytes.length);
    }
  });

  it('the same memory without a pin moves, and nothing is lent', async () => {
    const one = shapeCase('swap', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const { report, pager } = await runOnMachine(rig, one, addr);
    expect(report.outcome).toBe('done');
    expect(pager.aperture.stats).toMatchObject({ lends: 0, pages: 0, written: 0 });
    expect(pager.stats.mapped).toBe(one.bytes.length / PAGE);
  });

  it('pages of a shared file: the file has the result', { timeout: 120_000 }, async () => {
    for (const name of names) {
      const one = shapeCase(name, 4, BASE, 4);
      const file = await rig.machine.tmpfile(one.bytes.length);
      const addr = await mapCase(rig, one, file.fd);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report, name).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
      expect(pager.stats.mapped, name).toBe(0);
      expect(pager.aperture.stats.written, name).toBeGreaterThan(0);
      expectMemory(one, await file.pread(one.bytes.length, 0), oracleOf(one));
      await rig.process.munmap(addr, one.bytes.length);
      await file.close();
      await expectAtRest();
    }
  });

  it('coherent memory: it moves there, and kernels reach it by lending', async () => {
    await rig.machine.close();
    rig = await openMachineRig(engine, 256, 2);
    for (const name of ['histogram', 'chase']) {
      const one = shapeCase(name, 4, BASE, 5);
      const addr = await mapCase(rig, one);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report, name).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.aperture.stats.lends, name).toBeGreaterThan(0);
      await expectOracle(one, addr);
      await expectAtRest();
    }
  });

  it('more pages than the aperture has frames: a kernel that needs them in turn ends', async () => {
    // Each invocation reads a page of its own, then one of another's: 2 x 64 pages, and a result.
    const ir = kernelOf('wide', 64, [
      load('a', at(arg(0), op(GID, '*', 1024))),
      load('b', at(arg(0), op(op(GID, '+', 64), '*', 1024))),
      store(at(arg(1), GID), op(v('a'), '+', v('b'))),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(128 * 1024, (i) => i * 5);
    to.array(64);
    const one = to.build('wide', ir, 1);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, one.bytes.length / PAGE);
    const { report, pager } = await runOnMachine(rig, one, addr);
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect(pager.aperture.stats.lends).toBeGreaterThan(2);
    await expectOracle(one, addr);
    await pinned.release();
    await expectAtRest();
  });

  it('a store to pinned memory that may only be read ends the writer; readers finish', async () => {
    const ir = kernelOf('mixed', 64, [
      load('x', at(arg(0), GID)),
      store(at(arg(1), GID), v('x')),
      store(at(arg(0), op(GID, '+', 64)), 1),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(128, (i) => i + 1);
    to.array(64);
    const one = to.build('mixed', ir, 1);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 2);
    await rig.process.mprotect(addr, PAGE, PROT_READ);
    const { report, pager } = await runOnMachine(rig, one, addr);
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
    expect(pager.stats.cancelled).toBe(1);
    const words = new Uint32Array((await rig.process.read(addr, 2 * PAGE)).buffer);
    for (let i = 0; i < 128; i++) expect(words[i]).toBe(i + 1);
    for (let i = 0; i < 64; i++) expect(words[1024 + i]).toBe(i + 1);
    await pinned.release();
    await expectAtRest();
  });
}

/** What others do to pages while they are lent. */
function describeMeanwhile(): void {
  it('whoever reads or writes a lent page waits, and no store is lost', async () => {
    const one = adder(2);
    const file = await rig.machine.tmpfile(one.bytes.length);
    const addr = await mapCase(rig, one, file.fd);
    let read: Promise<Uint8Array> | undefined;
    let write: Promise<void> | undefined;
    const { report, pager } = await runOnMachine(rig, one, addr, async (_, { aperture }) => {
      if (read !== undefined || aperture.stats.lends < 2) return;
      // Lent for reading at first; now for writing.
      read = rig.process.read(addr, 4);
      write = rig.process.write(addr + 4, Uint8Array.of(255, 255, 255, 255));
      expect(await isSettled(read)).toBe(false);
      expect(await isSettled(write)).toBe(false);
    });
    expect(report.outcome).toBe('done');
    expect(pager.aperture.stats.written).toBeGreaterThan(0);
    // Word 0 is 0 + 7 after the pass that had the page; word 1 is what was stored afterwards.
    expect(new Uint32Array((await read!).slice().buffer)[0]).toBe(7);
    await write;
    const words = new Uint32Array((await rig.process.read(addr, one.bytes.length)).buffer);
    expect(words[1]).toBe(0xffff_ffff);
    for (let i = 2; i < words.length; i++) expect(words[i]).toBe(i * 3 + 7);
    await rig.process.munmap(addr, one.bytes.length);
    await file.close();
    await expectAtRest();
  });

  it('what the holder of a pin writes meanwhile is merged with what the kernel did', async () => {
    const ir = kernelOf('first', 64, [reduce('add', at(arg(0), 0), 1)]);
    const to = new CaseBuilder(BASE, 5);
    to.array(1024, (i) => i);
    const one = to.build('first', ir, 4);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 1);
    let wrote = 0;
    const { report, pager } = await runOnMachine(rig, one, addr, (_, { aperture }) => {
      if (aperture.lentPages === 0) return;
      ramOf(addr).fill(0xab, 2048);
      wrote += 1;
    });
    expect(report.outcome).toBe('done');
    expect(wrote).toBeGreaterThan(0);
    expect(pager.aperture.stats.merged).toBeGreaterThan(0);
    const bytes = await rig.process.read(addr, PAGE);
    const words = new Uint32Array(bytes.slice(0, 2048).buffer);
    expect(words[0]).toBe(256);
    for (let i = 1; i < 512; i++) expect(words[i]).toBe(i);
    expect(bytes.subarray(2048).every((byte) => byte === 0xab)).toBe(true);
    await pinned.release();
    await expectAtRest();
  });

  it.each(['munmap', 'mprotect', 'fork'] as const)('%s waits for a lent page', async (call) => {
    const one = adder(2);
    const file = await rig.machine.tmpfile(one.bytes.length);
    const addr = await mapCase(rig, one, file.fd);
    let done: Promise<unknown> | undefined;
    const { report } = await runOnMachine(rig, one, addr, async (_, { aperture }) => {
      if (done !== undefined || aperture.stats.lends < 2) return;
      if (call === 'munmap') done = rig.process.munmap(addr, one.bytes.length);
      else if (call === 'mprotect') done = rig.process.mprotect(addr, PAGE, PROT_READ);
      else done = rig.process.fork();
      expect(await isSettled(done)).toBe(false);
    });
    expect(report.outcome).toBe('done');
    await done;
    const words = new Uint32Array((await file.pread(one.bytes.length, 0)).buffer);
    // Each word was added to once, or not where its page was gone before its turn came.
    const added = [...words].map((word, i) => word - i * 3);
    expect(added.every((one) => one === 7 || (one === 0 && call !== 'fork'))).toBe(true);
    expect(added.filter((one) => one === 7).length).toBeGreaterThanOrEqual(64);
    if (call === 'fork') expect(report.killed).toBe(0);
    await file.close();
    if (call !== 'munmap') await rig.process.munmap(addr, one.bytes.length);
    await expectAtRest();
  });

  it('pinned pages are whole in parent and child of a fork that waited for them', async () => {
    const one = adder(1);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 1);
    let forked: Promise<Process> | undefined;
    await runOnMachine(rig, one, addr, (_, { aperture }) => {
      if (aperture.lentPages > 0) forked ??= rig.process.fork();
    });
    const child = await forked!;
    await expectOracle(one, addr);
    const words = new Uint32Array((await child.read(addr, PAGE)).buffer);
    const added = [...words].map((word, i) => word - i * 3);
    expect(added.every((one) => one === 0 || one === 7)).toBe(true);
    // The pin is the parent's own: what is written through it the child never sees.
    ramOf(addr).fill(1);
    expect((await rig.process.read(addr, 1))[0]).toBe(1);
    expect(Buffer.from(await child.read(addr, PAGE)).equals(Buffer.from(words.buffer))).toBe(true);
    await pinned.release();
    await child.exit();
    await expectAtRest();
  });

  it('a page that is thrown away while it is lent is not seen by the pass', async () => {
    const one = adder(1);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 1);
    let thrown = false;
    const { report } = await runOnMachine(rig, one, addr, async (_, { aperture }) => {
      if (thrown || aperture.lentPages === 0) return;
      thrown = true;
      await rig.process.madvise(addr, PAGE, MADV_DONTNEED);
    });
    expect(report.outcome).toBe('done');
    expect(thrown).toBe(true);
    const words = new Uint32Array((await rig.process.read(addr, PAGE)).buffer);
    expect([...words].every((word) => word === 7)).toBe(true);
    await pinned.release();
    await expectAtRest();
  });

  it('kernels of two processes over pages of one file, at once: each addition counts', async () => {
    const other = await besides(rig);
    const ir = kernelOf('count', 64, [reduce('add', at(arg(0), op(GID, '%', 16)), 1)]);
    const to = new CaseBuilder(BASE, 5);
    to.array(1024);
    const one = to.build('count', ir, 8);
    const file = await rig.machine.tmpfile(PAGE);
    const addrs = [await mapCase(rig, one, file.fd), await mapCase(other, one, file.fd)] as const;
    const runs = await Promise.all([
      runOnMachine(rig, one, addrs[0]),
      runOnMachine(other, one, addrs[1]),
    ]);
    for (const { report } of runs) expect(report.outcome).toBe('done');
    const words = new Uint32Array((await file.pread(PAGE, 0)).buffer);
    for (let i = 0; i < 16; i++) expect(words[i]).toBe(64);
    await rig.process.munmap(addrs[0], PAGE);
    await other.process.munmap(addrs[1], PAGE);
    await file.close();
    await expectAtRest();
  });
}

/** However a launch ends, nothing stays lent. */
function describeEnds(): void {
  /** Runs over a page of a file to its end; answers what the page holds then. */
  async function run(
    body: Parameters<typeof kernelOf>[2],
    between: Parameters<typeof runOnMachine>[3],
    request: Parameters<typeof runOnMachine>[4] = {},
  ): Promise<{ outcome: string; lends: number; words: Uint32Array }> {
    const to = new CaseBuilder(BASE, 5);
    to.array(1024, (i) => i);
    const one = to.build('ends', kernelOf('ends', 64, body), 4);
    const file = await rig.machine.tmpfile(PAGE);
    const addr = await mapCase(rig, one, file.fd);
    let aperture: Aperture | undefined;
    const noting: typeof between = (batch, pager) => {
      ({ aperture } = pager);
      return between?.(batch, pager);
    };
    const ended = runOnMachine(rig, one, addr, noting, request);
    const outcome = await ended.then(({ report }) => report.outcome).catch(String);
    expect(aperture?.lentPages).toBe(0);
    const words = new Uint32Array((await file.pread(PAGE, 0)).buffer);
    await rig.process.munmap(addr, PAGE);
    await file.close();
    await expectAtRest();
    return { outcome, lends: aperture!.stats.lends, words };
  }

  const increment = [load('x', at(arg(0), GID)), store(at(arg(0), GID), op(v('x'), '+', 1))];

  it('endless: what was written before is there', async () => {
    const body = [...increment, ...times('i', 1 << 20, [load('y', at(arg(0), 5))])];
    const { outcome, lends, words } = await run(body, () => {}, { budget: 500 });
    expect(outcome).toBe('endless');
    expect(lends).toBeGreaterThan(0);
    expect(words[1]! - 1).toBeLessThanOrEqual(1);
  });

  it('the pager throws after it has lent', async () => {
    const { outcome, lends, words } = await run(increment, () => {
      throw new Error('enough');
    });
    expect(outcome).toContain('enough');
    expect(lends).toBe(1);
    expect([...words].every((word, i) => word === i)).toBe(true);
  });

  it('stalled: nobody could use what was lent', async () => {
    const between: Parameters<typeof run>[1] = () => rig.mirror.pageTable.tell(0, Infinity);
    const { outcome, lends, words } = await run(increment, between, { patience: 3 });
    expect(outcome).toBe('stalled');
    expect(lends).toBeGreaterThan(2);
    expect([...words].every((word, i) => word === i)).toBe(true);
  });

  it('the device is lost: memory is as before the pass that it was lost in', async () => {
    const between: Parameters<typeof run>[1] = (_, { aperture }) => {
      if (aperture.stats.lends === 2) rig.machine.kernel.engine.markLost('a test');
    };
    const { outcome, lends, words } = await run(increment, between);
    expect(outcome).toBe('failed');
    expect(lends).toBe(2);
    expect([...words].every((word, i) => word === i)).toBe(true);
  });

  it('pages of bad addresses are refused, and those beside them are lent', async () => {
    const addr = await rig.process.mmap({ length: 3 * PAGE, prot: PROT_READ | PROT_WRITE });
    await rig.process.munmap(addr + PAGE, PAGE);
    await rig.process.mprotect(addr + 2 * PAGE, PAGE, PROT_READ);
    const first = addr / PAGE;
    const space = new DeviceSpace(1);
    const aperture = new Aperture(rig.mirror, space, addr, rig.firstFrame);
    const refused = await aperture.lend(
      new Map([
        [first, ACCESS_WRITE],
        [first + 1, ACCESS_READ],
        [first + 2, ACCESS_WRITE],
      ]),
    );
    expect([...refused]).toEqual([
      [first + 1, errno.EFAULT],
      [first + 2, errno.EPERM],
    ]);
    expect(space.entryOf(0) & PTE_ALL).toBe(PTE_ALL);
    expect(space.entryOf(PAGE) | space.entryOf(2 * PAGE)).toBe(0);
    await expect(aperture.lend(new Map())).rejects.toThrow('I40');
    expect(await aperture.giveBack()).toBe(0);
    expect(space.entryOf(0)).toBe(0);
    await expectAtRest();
  });

  it('the zero page is lent for reading, and nobody waits for it', async () => {
    const addr = await rig.process.mmap({ length: PAGE, prot: PROT_READ | PROT_WRITE });
    await rig.process.touch(addr, 'read');
    const space = new DeviceSpace(1);
    const aperture = new Aperture(rig.mirror, space, addr, rig.firstFrame);
    expect((await aperture.lend(new Map([[addr / PAGE, ACCESS_READ]]))).size).toBe(0);
    expect(space.entryOf(0) & PTE_ALL).toBe(PTE_READ);
    const [bytes] = await rig.engine.readFrames([space.entryOf(0) >>> 8]);
    expect(bytes!.every((byte) => byte === 0)).toBe(true);
    // The store gets a page of its own, and kernels must not see the old one any more.
    await rig.process.write(addr, Uint8Array.of(1));
    expect(space.entryOf(0)).toBe(0);
    await aperture.giveBack();
    await expectAtRest();
  });
}
