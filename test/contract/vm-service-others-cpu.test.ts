/*
 * Kernels under a policy, while commands of the device bring the pages that the policy left in RAM:
 * they can't be lent any more, so the service has to hear of it.
 */
import { expect, it } from 'vitest';
import { HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from '../../src/driver/dmirror.ts';
import { policyByName } from '../../src/driver/policy/policies.ts';
import type { FaultBatch } from '../../src/engine/vm/launch.ts';
import { shapeCase } from '../../src/engine/vm/shapes.ts';
import { mapCase, openMachineRig, runServed } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

const BASE = 0x10_0000;

it.each(['nouveau', 'adaptive', 'uvm', 'none'] as const)(
  'a command brings what is used in RAM, after any pass: %s',
  async (name) => {
    for (const every of [1, 2, 3]) {
      const rig = await openMachineRig('cpu', 64);
      const one = shapeCase('accumulate', 4, BASE, 3);
      const addr = await mapCase(rig, one);
      const pages = one.bytes.length / 4096;
      const { device } = rig.mirror;
      const between = async ({ pass }: FaultBatch): Promise<void> => {
        if (pass % every !== 0) return;
        await rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd(addr, pages, 0));
      };
      const policy = policyByName(name);
      const { report, pager } = await runServed(rig, one, addr, { policy, between });
      expect(report, `${every}`).toMatchObject({ outcome: 'done', killed: 0 });
      expect(report.passes).toBeLessThan(20);
      const { residentPages } = pager.service.space;
      expect(residentPages).toBeLessThanOrEqual(device.memory.pagesInUse);
      expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
      await rig.machine.close();
    }
  },
);
