import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_WRITE } from '../../../src/driver/dmirror.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { copyToUser } from '../../../src/mm/uaccess.ts';
import type { Machine } from '../machine.ts';
import { bytesForStore, deviceMay, isPinned, setByte } from '../model.ts';
import type { Model } from '../model.ts';
import { deviceCommand } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';

interface Args extends DeviceRange {
  readonly value: number;
}

/**
 * WRITE: the device stores whole pages. A range that it may not write throughout is tried on its
 * first page only: how far it gets in a longer one is nobody's business.
 */
export class DeviceStore extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot) && this.isOneCase(model);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, value } = this.args;
    const process = processOf(model, slot);
    const real = realOf(machine, slot);
    const pages = pagesOf(this.args);
    const source = new Uint8Array(pages.length * PAGE_SIZE);
    pages.forEach((_, i) => {
      source[i * PAGE_SIZE] = value + i;
      source[(i + 1) * PAGE_SIZE - 1] = value;
    });
    expect(await copyToUser(real.mm, real.buffer, source)).toBe(0);
    const { status } = await deviceCommand(machine, this.args, HMM_DMIRROR_WRITE, real.buffer);
    if (!deviceMay(process, page, true)) {
      const found = process.pages.get(page);
      const isReadOnly = found !== undefined && (found.prot & PROT_READ) !== 0 && found.bytes;
      expect(isReadOnly ? [errno.EPERM] : [errno.EFAULT, errno.EPERM]).toContain(status);
      return;
    }
    // A pinned page can't be lent to the device: the store ends there.
    const pinnedAt = pages.findIndex((at) => isPinned(model, process.pages.get(at)!));
    expect(status).toBe(pinnedAt < 0 ? 0 : errno.EBUSY);
    const stored = pinnedAt < 0 ? pages : pages.slice(0, pinnedAt);
    stored.forEach((at, i) => {
      const bytes = bytesForStore(process.pages.get(at)!);
      bytes.clear();
      setByte(bytes, 0, (value + i) & 0xff);
      setByte(bytes, PAGE_SIZE - 1, value);
    });
  }

  private isOneCase(model: Readonly<Model>): boolean {
    const pages = pagesOf(this.args);
    const process = processOf(model, this.args.slot);
    return pages.length === 1 || pages.every((page) => deviceMay(process, page, true));
  }
}
