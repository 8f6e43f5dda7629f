/*
 * Kernels over a process's memory: what the CPU sees afterwards is what a run without faults
 * leaves, whatever the CPU does meanwhile and however little memory the device has.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAULT_ADDRESS } from '../../src/engine/vm/abi.ts';
import { arg, at, GID, kernelOf, load, op, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder, SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import { PROT_READ } from '../../src/index.ts';
import { mapCase, openMachineRig, runOnMachine } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x10_0000;
/** Compiling takes most of the time; the others run on WebGPU in vm-contract.ts. */
const SOME = ['swap', 'reduction', 'histogram', 'bfs'];

function shapesFor(engine: 'cpu' | 'webgpu'): readonly string[] {
  return engine === 'cpu' ? SHAPE_NAMES : SOME;
}

/** Declares the suite for a machine's engine. */
export function describeVmMachine(engine: 'cpu' | 'webgpu'): void {
  describe(`kernels over a process's memory: ${engine}`, () => {
    describeRoomy(engine);
    describeCramped(engine);
  });
}

function describeRoomy(engine: 'cpu' | 'webgpu'): void {
  let rig: MachineRig;
  beforeEach(async () => {
    rig = await openMachineRig(engine, 256);
  });
  afterEach(() => rig.machine.close());

  it('every shape: pages come by migration, the CPU reads the result', async () => {
    for (const name of shapesFor(engine)) {
      const one = shapeCase(name, 4, BASE, 3);
      const addr = await mapCase(rig, one);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report, name).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
      expect(pager.stats.mapped, name).toBeGreaterThan(0);
      const bytes = await rig.process.read(addr, one.bytes.length);
      expectMemory(one, bytes, oracleOf(one));
      await rig.process.munmap(addr, one.bytes.length);
    }
  });

  it('a CPU that takes pages back between passes loses nothing and changes nothing', async () => {
    const one = shapeCase('accumulate', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const { report, pager } = await runOnMachine(rig, one, addr, async ({ records, pass }) => {
      // Not the page that was just granted: taking that back for ever would be a livelock.
      const first = Math.floor(records[FAULT_ADDRESS]! / 4096);
      const page = (first - BASE / 4096 + 1) % (one.bytes.length / 4096);
      if (pass < 20) await rig.process.read(addr + page * 4096, 4);
    });
    expect(report.outcome).toBe('done');
    expect(pager.stats.erased).toBeGreaterThan(2);
    expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
  });

  it('a store to memory that may only be read ends the writer; readers finish', async () => {
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
    await rig.process.mprotect(addr, 4096, PROT_READ);
    const { report, pager } = await runOnMachine(rig, one, addr);
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
    expect(pager.stats.cancelled).toBe(1);
    const words = new Uint32Array((await rig.process.read(addr, 8192)).buffer);
    // The first page is as it was, the copy was made before the bad store.
    for (let i = 0; i < 128; i++) expect(words[i]).toBe(i + 1);
    for (let i = 0; i < 64; i++) expect(words[1024 + i]).toBe(i + 1);
  });

  it('an address that the process has not ends the invocation', async () => {
    const one = shapeCase('chase', 1, BASE, 1);
    const addr = await mapCase(rig, one);
    await rig.process.munmap(addr + 4096, 4096);
    const { report } = await runOnMachine(rig, one, addr);
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
  });

  it('memory that goes while the kernel runs is a bad address from then on', async () => {
    const one = shapeCase('swap', 4, BASE, 1);
    const addr = await mapCase(rig, one);
    let gone = false;
    const { report } = await runOnMachine(rig, one, addr, async ({ pass }) => {
      if (pass !== 1) return;
      gone = true;
      await rig.process.munmap(addr, one.bytes.length);
    });
    expect(gone).toBe(true);
    expect(report.outcome).toBe('done');
    expect(report.killed).toBe(256);
  });
}

function describeCramped(engine: 'cpu' | 'webgpu'): void {
  it('a device of one page and one of three finish every shape', { timeout: 120_000 }, async () => {
    for (const pages of [1, 3]) {
      const rig = await openMachineRig(engine, pages);
      for (const name of shapesFor(engine)) {
        const one = shapeCase(name, 2, BASE, 3);
        const addr = await mapCase(rig, one);
        const { report, pager } = await runOnMachine(rig, one, addr);
        expect(report, `${name}, ${pages}`).toMatchObject({ outcome: 'done', killed: 0 });
        const needed = one.bytes.length / 4096;
        if (needed > pages + 2) expect(pager.stats.evicted, name).toBeGreaterThan(0);
        const bytes = await rig.process.read(addr, one.bytes.length);
        expectMemory(one, bytes, oracleOf(one));
        await rig.process.munmap(addr, one.bytes.length);
      }
      await rig.machine.close();
    }
  });
}
