/*
 * Pages that can't come to the device, in launches that can't have them lent: who has them is
 * waited for, for a number of passes, and then the accesses end by name.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { MAX_BUSY } from '../../src/driver/busy-pages.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from '../../src/driver/dmirror.ts';
import { MachinePager } from '../../src/driver/machine-pager.ts';
import { policyByName } from '../../src/driver/policy/policies.ts';
import type { PolicyName } from '../../src/driver/policy/policies.ts';
import { ServicePager } from '../../src/driver/service-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { LaunchReport } from '../../src/engine/vm/launch.ts';
import { shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { mapCase, openMachineRig } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x10_0000;
const PAGE = 4096;
const WAYS: readonly (PolicyName | 'no policy')[] = ['uvm', 'none', 'kfd', 'tbn', 'no policy'];

interface Outcome {
  readonly report: LaunchReport;
  readonly refused: readonly (readonly [page: number, why: number])[];
}

/** Runs a case without the aperture around its passes. */
async function run(
  rig: MachineRig,
  way: PolicyName | 'no policy',
  one: VmCase,
  addr: number,
  afterPass: (pass: number) => Promise<void> | void,
): Promise<Outcome> {
  const space = new DeviceSpace(1);
  const refused: [number, number][] = [];
  const { mirror, engine, firstFrame } = rig;
  const program = await engine.compile(one.kernel, { slots: 4, hash: true });
  if ('problems' in program) throw new Error(program.problems[0]!.reason);
  const onRefuse = (page: number, _write: boolean, why: number): void =>
    void refused.push([page - BASE / PAGE, why]);
  const pager =
    way === 'no policy'
      ? new MachinePager(mirror, space, addr - BASE, firstFrame)
      : new ServicePager(mirror, space, addr - BASE, firstFrame, {
          policy: policyByName(way),
          onRefuse,
          checks: true,
        });
  await pager.begin();
  const report = await launchKernel(program, {
    space,
    workgroups: one.workgroups,
    args: one.args,
    patience: 2000,
    everyPass: true,
    pager: async (batch) => {
      const goesOn = await pager.serve(batch);
      await afterPass(batch.pass);
      return goesOn;
    },
    onSubmitted: () => pager.passSubmitted(),
  });
  if (pager instanceof MachinePager) {
    for (const { address, errno: why } of pager.refusals) {
      refused.push([Math.floor((address - addr) / PAGE), why]);
    }
  } else await pager.end();
  pager.close();
  engine.drop(space);
  return { report, refused };
}

describe('pages that others have, without the aperture', { timeout: 120_000 }, () => {
  it.each(WAYS)('%s: a pin that goes in time is waited for', async (way) => {
    const rig = await openMachineRig('cpu', 64);
    const one = shapeCase('swap', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 1);
    let released = -1;
    const { report, refused } = await run(rig, way, one, addr, async (pass) => {
      if (pass < 40 || released >= 0) return;
      released = pass;
      await pinned.release();
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    expect([released, refused]).toEqual([40, []]);
    expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
    await rig.machine.close();
  });

  it.each(WAYS)('%s: one that stays: EBUSY at its page, after so many passes', async (way) => {
    const rig = await openMachineRig('cpu', 64);
    const one = shapeCase('swap', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const pinned = await rig.process.pinUserPages(addr, 1);
    const { report, refused } = await run(rig, way, one, addr, () => {});
    expect(report.outcome).toBe('done');
    expect(report.killed).toBeGreaterThan(0);
    expect(refused[0]).toEqual([0, errno.EBUSY]);
    expect(report.passes).toBeGreaterThan(MAX_BUSY);
    expect(report.passes).toBeLessThan(2 * MAX_BUSY);
    await pinned.release();
    await rig.machine.close();
  });

  it.each(WAYS)('%s: a device full of what another process uses', async (way) => {
    const rig = await openMachineRig('cpu', 4);
    const one = shapeCase('accumulate', 4, BASE, 3);
    const addr = await mapCase(rig, one);
    const other = await mapCase(rig, one);
    await rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd(other, 4, 0));
    const { memory } = rig.mirror.device;
    expect(memory.pagesInUse).toBe(4);
    const { report, refused } = await run(rig, way, one, addr, () => {});
    expect([report.outcome, report.killed, refused]).toEqual(['done', 0, []]);
    expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
    await rig.machine.close();
  });
});
