import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV } from '../../../src/driver/dmirror.ts';
import type { Machine } from '../machine.ts';
import type { Model } from '../model.ts';
import { deviceCommand, isReadable } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { Step, isAlive, pagesOf } from './step.ts';

/** MIGRATE_TO_DEV: moves what can be moved, and never changes a byte. */
export class MigrateToDevice extends Step<DeviceRange> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { status, cmd } = await deviceCommand(machine, this.args, HMM_DMIRROR_MIGRATE_TO_DEV, 0);
    if (!isReadable(model, this.args)) {
      expect(status).toBe(errno.EINVAL);
      return;
    }
    // ENOENT: a page is not on the device, for want of room, for a pin, because it is shared…
    expect([0, errno.ENOENT]).toContain(status);
    if (status === 0) expect(cmd.cpages).toBe(pagesOf(this.args).length);
  }
}
