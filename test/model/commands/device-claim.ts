import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  HMM_DMIRROR_CHECK_EXCLUSIVE,
  HMM_DMIRROR_EXCLUSIVE,
  WEBHMM_DMIRROR_ADD,
} from '../../../src/driver/dmirror.ts';
import { PROT_WRITE } from '../../../src/mm/mm-types.ts';
import type { Machine } from '../machine.ts';
import { bytesForStore, isPinned, setByte } from '../model.ts';
import type { Bytes, Model, ModelPage } from '../model.ts';
import { deviceCommand } from './device-command.ts';
import type { DeviceRange } from './device-command.ts';
import { Step, isAlive, pagesOf, processOf } from './step.ts';

interface Args extends DeviceRange {
  /** Added to every word; 0 = the device does nothing with what it has got. */
  readonly value: number;
}

/** EXCLUSIVE: the device gets the pages for itself. Then, perhaps, it adds something to them. */
export class DeviceClaim extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { status } = await deviceCommand(machine, this.args, HMM_DMIRROR_EXCLUSIVE, 0);
    machine.tally.claims++;
    expect(status).toBe(this.claim(model));
    if (status !== 0) return;
    const check = await deviceCommand(machine, this.args, HMM_DMIRROR_CHECK_EXCLUSIVE, 0);
    expect(check.status).toBe(errno.EPERM);
    if (this.args.value > 0) await this.add(model, machine);
  }

  /** Claims page after page; what the first one that can't be had answers. */
  private claim(model: Model): number {
    const { pages } = processOf(model, this.args.slot);
    for (const at of pagesOf(this.args)) {
      const page = pages.get(at);
      const status = claimOutcome(page);
      if (page === undefined || status !== 0) return status;
      bytesForStore(page);
    }
    return 0;
  }

  private async add(model: Model, machine: Machine): Promise<void> {
    const { pages } = processOf(model, this.args.slot);
    const { value } = this.args;
    const { status, cmd } = await deviceCommand(machine, this.args, WEBHMM_DMIRROR_ADD, value);
    const claimed = pagesOf(this.args).map((at) => pages.get(at)!);
    const pinnedAt = claimed.findIndex((page) => isPinned(model, page));
    expect(status).toBe(pinnedAt < 0 ? 0 : errno.EBUSY);
    expect(cmd.faults).toBe(0);
    const added = pinnedAt < 0 ? claimed : claimed.slice(0, pinnedAt);
    for (const page of added) addToWords(page.bytes!, value);
  }
}

function claimOutcome(page: ModelPage | undefined): number {
  if (page === undefined || (page.prot & PROT_WRITE) === 0) return errno.EFAULT;
  if (page.bytes === null) return errno.EFAULT;
  return page.isShared ? errno.EOPNOTSUPP : 0;
}

function addToWords(bytes: Bytes, value: number): void {
  const page = Buffer.alloc(PAGE_SIZE);
  for (const [offset, byte] of bytes) page[offset] = byte;
  for (let at = 0; at < PAGE_SIZE; at += 4) {
    page.writeUInt32LE((page.readUInt32LE(at) + value) >>> 0, at);
  }
  page.forEach((byte, offset) => setByte(bytes, offset, byte));
}
