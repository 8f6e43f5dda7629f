import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HMM_DMIRROR_MIGRATE_TO_SYS } from '../../../src/driver/dmirror.ts';
import { isDevicePrivateEntry, ptePfn, ptePresent } from '../../../src/mm/swapops.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { deviceCommand, isReadable } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { Step, isAlive, pagesOf, realOf } from './step.ts';

/** MIGRATE_TO_SYS: every page of that device in the range comes home. */
export class MigrateToSystem extends Step<DeviceRange> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, minor } = this.args;
    const { status } = await deviceCommand(machine, this.args, HMM_DMIRROR_MIGRATE_TO_SYS, 0);
    expect(status).toBe(isReadable(model, this.args) ? 0 : errno.EINVAL);
    if (status !== 0) return;
    const { mm } = realOf(machine, slot);
    const { pageTables } = machine.sys;
    for (const page of pagesOf(this.args)) {
      const pte = pageTables.words[pageTables.pteOffset(mm.pgd, arenaAddress(page))]!;
      const pfn = ptePfn(pte);
      const isMapped = isDevicePrivateEntry(pte) || ptePresent(pte);
      const isPinned = machine.pins.some((pin) => pin?.pfn === pfn);
      const isThere = isMapped && machine.devices[minor]!.memory.has(pfn) && !isPinned;
      expect(isThere, `page ${page} is still on device ${minor}`).toBe(false);
    }
  }
}
