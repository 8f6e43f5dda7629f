import { PAGE_SIZE } from '../../../src/base/units.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import type { Model, ModelPage } from '../model.ts';
import { Step, isAlive, mappedPages, realOf } from './step.ts';
import type { Range } from './step.ts';

/** MADV_DONTNEED of whatever is mapped in the range. */
export class Zap extends Step<Range> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot) && mappedPages(model, this.args).length > 0;
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { mm } = realOf(machine, this.args.slot);
    await mm.mmapLock.readLock();
    for (const [at, page] of mappedPages(model, this.args)) {
      const addr = arenaAddress(at);
      const vma = vmaLookup(mm, addr);
      if (vma === null) throw new Error(`page ${at} is mapped in the model only`);
      zapPageRange(vma, addr, addr + PAGE_SIZE);
      forget(page);
    }
    mm.mmapLock.readUnlock();
  }
}

/** Private memory starts over, as zeroes or as the object's page; shared memory keeps its bytes. */
function forget(page: ModelPage): void {
  if (page.isShared) return;
  const isOfObject = page.behind !== null;
  page.copyFirst = isOfObject;
  if (page.bytes !== null) page.bytes = isOfObject ? page.behind : new Map();
}
