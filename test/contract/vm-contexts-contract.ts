/*
 * Several contexts on one device, of one process and of two, and a CPU at the same pages: each
 * kernel's memory is what it would be alone, however little memory they have to share.
 */
import { describe, expect, it } from 'vitest';
import { arg, at, GID, kernelOf, load, op, store, times, v } from '../../src/engine/vm/ir.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { CaseBuilder, shapeCase } from '../../src/engine/vm/shapes.ts';
import { PAGE_SIZE, Prng } from '../../src/index.ts';
import { besides, mapCase, openMachineRig, runOnMachine } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x10_0000;

async function expectResult(rig: MachineRig, one: VmCase, addr: number): Promise<void> {
  const bytes = await rig.process.read(addr, one.bytes.length);
  expectMemory(one, bytes, oracleOf(one));
}

/** Counts each of so many words up, again and again. */
function counting(words: number, rounds: number): VmCase {
  const ir = kernelOf('counting', 64, [
    ...times('i', rounds, [load('x', at(arg(0), GID)), store(at(arg(0), GID), op(v('x'), '+', 1))]),
  ]);
  const to = new CaseBuilder(BASE, 1);
  to.array(words, (i) => i);
  return to.build('counting', ir, words / 64);
}

/** Has the CPU engine answer some time after it has copied, as a GPU does. */
function answerLate({ machine }: MachineRig): void {
  const { engine } = machine.kernel;
  const submit = engine.submit.bind(engine);
  engine.submit = async (list, strategy) => {
    const status = submit(list, strategy);
    for (let turn = 0; turn < 40; turn++) await Promise.resolve();
    return status;
  };
}

/** Declares the suite for a machine's engine. */
export function describeVmContexts(engine: 'cpu' | 'webgpu'): void {
  describe(`several kernels on one device: ${engine}`, () => {
    for (const pages of [1, 3, 64]) {
      it(`two of one process at once, ${pages} device pages`, { timeout: 120_000 }, async () => {
        const rig = await openMachineRig(engine, pages);
        await expectTogether(rig, rig);
        await rig.machine.close();
      });

      it(`one each of two processes, ${pages} device pages`, { timeout: 120_000 }, async () => {
        const rig = await openMachineRig(engine, pages);
        await expectTogether(rig, await besides(rig));
        await rig.machine.close();
      });
    }

    it('what one was granted no other takes away before it was used', async () => {
      const passesOf = async (together: boolean): Promise<number> => {
        const rig = await openMachineRig(engine, 1);
        const one = shapeCase('accumulate', 4, BASE, 3);
        const addresses = [await mapCase(rig, one), await mapCase(rig, one)];
        const first = runOnMachine(rig, one, addresses[0]!);
        if (!together) await first;
        const second = runOnMachine(rig, one, addresses[1]!);
        const runs = [await first, await second];
        await rig.machine.close();
        return runs[0]!.report.passes + runs[1]!.report.passes;
      };
      expect(await passesOf(true)).toBe(await passesOf(false));
    });

    it('pages that nobody maps for a kernel make room for those of one', async () => {
      const rig = await openMachineRig(engine, 4);
      const other = await besides(rig);
      const full = { length: 4 * PAGE_SIZE, prot: 3 };
      const kept = await other.process.mmap(full);
      await other.process.write(kept, new Uint8Array(full.length).fill(7));
      const device = await other.process.openDevice(0);
      await device.ioctl('MIGRATE_TO_DEV', { addr: kept, ptr: 0, npages: 4 });
      const one = shapeCase('swap', 2, BASE, 1);
      const addr = await mapCase(rig, one);
      const { report, pager } = await runOnMachine(rig, one, addr);
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.stats.evicted).toBeGreaterThan(0);
      await expectResult(rig, one, addr);
      expect([...new Set(await other.process.read(kept, full.length))]).toEqual([7]);
      await rig.machine.close();
    });

    it("what the CPU reads all the time loses none of the kernel's stores", async () => {
      const rig = await openMachineRig(engine, 64);
      if (engine === 'cpu') answerLate(rig);
      const one = counting(4096, 24);
      const addr = await mapCase(rig, one);
      const running = { is: true };
      const prng = new Prng(11);
      const read = async (): Promise<number> => {
        let reads = 0;
        // However long a GPU's compiler takes, the reads last.
        const most = engine === 'cpu' ? 4000 : Infinity;
        while (running.is && reads < most) {
          await rig.process.read(addr + prng.below(4) * PAGE_SIZE, 4);
          reads += 1;
          // On the CPU engine a launch is one task; a GPU's answers come in tasks of their own.
          if (engine === 'webgpu') await new Promise((resolve) => setTimeout(resolve, 0));
        }
        return reads;
      };
      const reading = read();
      const { report, pager } = await runOnMachine(rig, one, addr, () => {}, { window: 1 });
      running.is = false;
      expect(report).toMatchObject({ outcome: 'done', killed: 0 });
      expect(pager.stats.erased).toBeGreaterThan(0);
      expect(await reading).toBeGreaterThan(0);
      await expectResult(rig, one, addr);
      await rig.machine.close();
    });
  });
}

/** Runs two kernels at the same time, on memory of their own. */
async function expectTogether(first: MachineRig, second: MachineRig): Promise<void> {
  const cases = [shapeCase('accumulate', 4, BASE, 3), shapeCase('histogram', 4, BASE, 5)];
  const rigs = [first, second];
  const addresses: number[] = [];
  for (const [i, one] of cases.entries()) addresses.push(await mapCase(rigs[i]!, one));
  let running = 0;
  let most = 0;
  const runs = await Promise.all(
    cases.map(async (one, i) => {
      running += 1;
      const note = (): void => {
        most = Math.max(most, running);
      };
      // Without the aperture: each has to get pages of the device.
      const run = await runOnMachine(rigs[i]!, one, addresses[i]!, note, { around: undefined });
      running -= 1;
      return run;
    }),
  );
  expect(most).toBe(2);
  for (const [i, one] of cases.entries()) {
    expect(runs[i]!.report, one.name).toMatchObject({ outcome: 'done', killed: 0, diverged: 0 });
    await expectResult(rigs[i]!, one, addresses[i]!);
  }
}
