/*
 * Large folios under kernels: one that came to the device whole is mapped by one entry of 2 MiB,
 * and goes as one. Counters of the page table say so.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { policyByName } from '../../src/driver/policy/policies.ts';
import { PTE_ALL, PTE_BLOCK } from '../../src/engine/vm/abi.ts';
import type { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { arg, at, GID, kernelOf, load, op, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { MachineOptions } from '../../src/index.ts';
import { openMachineRig, runOnMachine, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const BLOCK = 2 * MIB;
const BASE = 2 * BLOCK;

let rig: MachineRig;

/** Adds 1 to a word of each page of 2 MiB, in 8 workgroups. */
function sparse(base: number): VmCase {
  const word = op(op(GID, '*', 1024), '+', op(GID, '&', 1023));
  const ir = kernelOf('sparse', 64, [
    load('x', at(arg(0), word)),
    store(at(arg(0), word), op(v('x'), '+', 1)),
  ]);
  const to = new CaseBuilder(base, 3);
  to.array(512 * 1024, (i) => i * 7);
  return to.build('sparse', ir, 8);
}

/** Maps 2 MiB, on a boundary of 2 MiB plus so many bytes, and fills them. */
async function map(one: VmCase, beside = 0): Promise<number> {
  const prot = PROT_READ | PROT_WRITE;
  const hole = await rig.process.mmap({ length: 3 * BLOCK, prot });
  const addr = Math.ceil(hole / BLOCK) * BLOCK + beside;
  await rig.process.write(addr, one.bytes);
  return addr;
}

async function open(engine: 'cpu' | 'webgpu', more: MachineOptions = {}): Promise<void> {
  const size = { ramBytes: 16 * MIB, chunkBytes: 4 * MIB };
  rig = await openMachineRig(engine, 1024, 0, { ...size, thp: 'always', ...more });
}

/** Entries of 2 MiB in a page table. */
function blocksIn(space: DeviceSpace): number {
  return space.words.subarray(0, 2048).filter((entry) => (entry & PTE_BLOCK) !== 0).length;
}

/** Declares the suite for a machine's engine. */
export function describeVmBlocks(engine: 'cpu' | 'webgpu'): void {
  describe(`large folios under kernels: ${engine}`, () => {
    afterEach(() => rig.machine.close());

    it('a folio that comes whole is one entry, by one fault', async () => {
      await open(engine);
      const one = sparse(BASE);
      const addr = await map(one);
      let seen = 0;
      const { report, pager } = await runOnMachine(rig, one, addr, (_, { map: { space } }) => {
        seen = Math.max(seen, blocksIn(space));
      });
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.map.space.blocks).toEqual({ made: 1, split: 0 });
      expect(pager.stats.mapped).toBe(512);
      expect(seen).toBe(1);
      expectMemory(one, await rig.process.read(addr, BLOCK), oracleOf(one));
    });

    it('the same memory in single pages has no such entry', async () => {
      await open(engine, { thp: 'never' });
      const one = sparse(BASE);
      const addr = await map(one);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.map.space.blocks).toEqual({ made: 0, split: 0 });
      expectMemory(one, await rig.process.read(addr, BLOCK), oracleOf(one));
    });

    it('nor has a folio that lies across two entries of the context', async () => {
      await open(engine);
      const one = sparse(BASE + 16 * PAGE);
      const addr = await map(one);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.map.space.blocks.made).toBe(0);
      expectMemory(one, await rig.process.read(addr, BLOCK), oracleOf(one));
    });

    it('a CPU that touches one page has it all home, and the entry goes whole', async () => {
      await open(engine);
      const one = sparse(BASE);
      const addr = await map(one);
      let touched = false;
      const { report, pager } = await runOnMachine(
        rig,
        one,
        addr,
        async (_, { map: { space } }) => {
          if (touched || blocksIn(space) === 0) return;
          touched = true;
          await rig.process.read(addr + 100 * PAGE, 4);
          expect(blocksIn(space)).toBe(0);
          expect(space.entryOf(BASE) & PTE_ALL).toBe(0);
        },
        { window: 1 },
      );
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(touched).toBe(true);
      expect(pager.map.space.blocks).toEqual({ made: 2, split: 0 });
      expectMemory(one, await rig.process.read(addr, BLOCK), oracleOf(one));
    });

    it('when the CPU splits its entry, ours goes; what is left comes back by pages', async () => {
      await open(engine);
      const one = sparse(BASE);
      const addr = await map(one);
      let cut = false;
      const { report, pager } = await runOnMachine(
        rig,
        one,
        addr,
        async (_, { map: { space } }) => {
          if (cut || blocksIn(space) === 0) return;
          cut = true;
          await rig.process.munmap(addr + 7 * PAGE, PAGE);
          expect(blocksIn(space)).toBe(0);
          // As in Linux, where the notifier is told of all that a split entry mapped.
          expect(space.entryOf(BASE + 6 * PAGE) & PTE_ALL).toBe(0);
        },
      );
      // The invocation of the page that is gone.
      expect(report).toMatchObject({ outcome: 'done', killed: 1 });
      expect(cut).toBe(true);
      expect(pager.map.space.blocks).toEqual({ made: 1, split: 0 });
      expect(pager.stats.mapped).toBeGreaterThan(512 + 500);
      const wanted = oracleOf(one);
      const rest = await rig.process.read(addr + 8 * PAGE, BLOCK - 8 * PAGE);
      expect(Buffer.from(rest).equals(wanted.subarray(8 * PAGE))).toBe(true);
    });

    it('a policy of ranges of 2 MiB (xe) gets entries of 2 MiB, none gets none', async () => {
      for (const [name, made] of [
        ['xe', 1],
        ['none', 0],
      ] as const) {
        await open(engine);
        const one = sparse(BASE);
        const addr = await map(one);
        const { report, pager } = await runServed(rig, one, addr, { policy: policyByName(name) });
        expect(report).toMatchObject({ outcome: 'done', killed: 0 });
        expect(pager.map.space.blocks, name).toEqual({ made, split: 0 });
        expectMemory(one, await rig.process.read(addr, BLOCK), oracleOf(one));
        if (name === 'xe') await rig.machine.close();
      }
    });
  });
}
