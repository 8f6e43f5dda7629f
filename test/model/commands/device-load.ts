import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_READ } from '../../../src/driver/dmirror.ts';
import { copyFromUser } from '../../../src/mm/uaccess.ts';
import type { Machine } from '../machine.ts';
import { deviceMay } from '../model.ts';
import type { Model } from '../model.ts';
import { deviceCommand } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';

/** READ: the device loads whole pages into the process's buffer. */
export class DeviceLoad extends Step<DeviceRange> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot } = this.args;
    const process = processOf(model, slot);
    const real = realOf(machine, slot);
    const pages = pagesOf(this.args);
    const { status } = await deviceCommand(machine, this.args, HMM_DMIRROR_READ, real.buffer);
    const isAllowed = pages.every((page) => deviceMay(process, page, false));
    expect(status).toBe(isAllowed ? 0 : errno.EFAULT);
    if (!isAllowed) return;
    const got = new Uint8Array(pages.length * PAGE_SIZE);
    expect(await copyFromUser(real.mm, real.buffer, got)).toBe(0);
    const expected = new Uint8Array(got.length);
    pages.forEach((page, i) => {
      for (const [offset, value] of process.pages.get(page)!.bytes!) {
        expected[i * PAGE_SIZE + offset] = value;
      }
    });
    expect(Buffer.compare(got, expected), 'what the device has read').toBe(0);
  }
}
