/*
 * Kernels over a process's memory under every policy: what the CPU sees afterwards is what a run
 * without faults leaves, and the fault service's books agree with the page tables at
 * each replay (I41).
 */
import { describe, expect, it } from 'vitest';
import { POLICIES, policyByName } from '../../src/driver/policy/policies.ts';
import type { PolicyName } from '../../src/driver/policy/policies.ts';
import type { PolicyFactory } from '../../src/driver/policy/policy.ts';
import { FAULT_ADDRESS } from '../../src/engine/vm/abi.ts';
import { arg, at, GID, kernelOf, load, op, store, v } from '../../src/engine/vm/ir.ts';
import type { FaultBatch } from '../../src/engine/vm/launch.ts';
import { CaseBuilder, SHAPE_NAMES, shapeCase } from '../../src/engine/vm/shapes.ts';
import { PROT_READ, PROT_WRITE } from '../../src/index.ts';
import { mapCase, openMachineRig, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x10_0000;
/** Compiling takes most of the time on WebGPU. */
const SOME = ['swap'];

/** Declares the suite for a machine's engine. */
export function describeVmService(engine: 'cpu' | 'webgpu'): void {
  const shapes = engine === 'cpu' ? SHAPE_NAMES : SOME;
  const policies: readonly PolicyName[] = engine === 'cpu' ? POLICIES : ['uvm', 'kfd', 'nouveau'];
  describe(`kernels under a policy: ${engine}`, { timeout: 120_000 }, () => {
    it.each(policies)('E1: %s: shapes with room, and without', async (name) => {
      for (const pages of engine === 'cpu' ? [1, 3, 8, 256] : [3, 256]) {
        const rig = await openMachineRig(engine, pages);
        for (const shape of shapes) {
          const one = shapeCase(shape, 4, BASE, 3);
          const addr = await mapCase(rig, one);
          const { report } = await runServed(rig, one, addr, { policy: policyByName(name) });
          const what = `${shape}, ${pages}`;
          expect(report, what).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
          expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
          await rig.process.munmap(addr, one.bytes.length);
        }
        await rig.machine.close();
      }
    });
    describeRaces(engine);
  });
}

/** Others that change the address space between passes. */
function describeRaces(engine: 'cpu' | 'webgpu'): void {
  const some: readonly PolicyName[] = engine === 'cpu' ? POLICIES : ['uvm', 'kfd'];

  it.each(some)('M4: %s: a CPU that takes pages back, or maps away', async (name) => {
    const rig = await openMachineRig(engine, 8);
    const one = shapeCase('accumulate', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const between = async ({ records, pass }: FaultBatch): Promise<void> => {
      if (pass >= 20 || records.length === 0) return;
      // Not the page that was just granted: taking that back for ever would be a livelock.
      const first = Math.floor(records[FAULT_ADDRESS]! / 4096);
      const page = (first - BASE / 4096 + 1) % (one.bytes.length / 4096);
      if (pass % 2 === 0) await rig.process.read(addr + page * 4096, 4);
      else await protectTwice(rig, addr + page * 4096);
    };
    const { report, pager } = await runServed(rig, one, addr, {
      policy: policyByName(name),
      between,
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const { counts } = pager.service;
    if (name !== 'nouveau' && name !== 'adaptive') expect(counts.cpuFaults).toBeGreaterThan(0);
    expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
    await rig.machine.close();
  });

  it('F7: a store to memory that may only be read ends the writer; readers finish', async () => {
    const ir = kernelOf('mixed', 64, [
      load('x', at(arg(0), GID)),
      store(at(arg(1), GID), v('x')),
      store(at(arg(0), op(GID, '+', 64)), 1),
    ]);
    const to = new CaseBuilder(BASE, 1);
    to.array(128, (i) => i + 1);
    to.array(64);
    const one = to.build('mixed', ir, 1);
    const rig = await openMachineRig(engine, 256);
    const addr = await mapCase(rig, one);
    await rig.process.mprotect(addr, 4096, PROT_READ);
    const { report, pager } = await runServed(rig, one, addr, { policy: policyByName('uvm') });
    expect(report).toMatchObject({ outcome: 'done', killed: 64 });
    expect(pager.service.counts.cancelled).toBe(1);
    const words = new Uint32Array((await rig.process.read(addr, 8192)).buffer);
    for (let i = 0; i < 128; i++) expect(words[i]).toBe(i + 1);
    for (let i = 0; i < 64; i++) expect(words[1024 + i]).toBe(i + 1);
    await rig.machine.close();
  });

  it('F6: memory that goes while the kernel runs is a bad address from then on', async () => {
    const rig = await openMachineRig(engine, 256);
    const one = shapeCase('swap', 4, BASE, 1);
    const addr = await mapCase(rig, one);
    const between = async ({ pass }: FaultBatch): Promise<void> => {
      if (pass === 1) await rig.process.munmap(addr, one.bytes.length);
    };
    const policy = policyByName('none');
    const { report, pager } = await runServed(rig, one, addr, { policy, between });
    expect(report).toMatchObject({ outcome: 'done', killed: 256 });
    expect(pager.service.space.residentPages).toBe(0);
    await rig.machine.close();
  });

  it('a policy that throws ends its launch, and the next one has all memory back', async () => {
    const rig = await openMachineRig(engine, 4);
    const one = shapeCase('swap', 4, BASE, 1);
    const addr = await mapCase(rig, one);
    let asked = 0;
    const thrower: PolicyFactory = (setup) => {
      const policy = policyByName('none')(setup);
      policy.onFaults = () => {
        asked += 1;
        throw new Error('no idea');
      };
      return policy;
    };
    await expect(runServed(rig, one, addr, { policy: thrower })).rejects.toThrow(/no idea/);
    expect(asked).toBe(1);
    const { report } = await runServed(rig, one, addr, { policy: policyByName('none') });
    expect(report.outcome).toBe('done');
    expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
    await rig.machine.close();
  });
}

/** Makes a page read-only and writable again: the mirror loses its entry, the page stays. */
async function protectTwice({ process }: MachineRig, addr: number): Promise<void> {
  await process.mprotect(addr, 4096, PROT_READ);
  await process.mprotect(addr, 4096, PROT_READ | PROT_WRITE);
}
