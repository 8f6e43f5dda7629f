import { expect } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  doMremap,
} from '../../../src/mm/mremap.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { ARENA_PAGES } from '../model.ts';
import type { Model, ModelPage } from '../model.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';
import type { Range } from './step.ts';

interface Args extends Range {
  /** First page of the place that it moves to. */
  readonly target: number;
  readonly dontUnmap: boolean;
}

/** mremap from one part of the arena to another; holes are left out. */
export class Mremap extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, target, dontUnmap } = this.args;
    const numbers = pagesOf(this.args).slice(0, ARENA_PAGES - target);
    const length = numbers.length * PAGE_SIZE;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED | (dontUnmap ? MREMAP_DONTUNMAP : 0);
    const { mm } = realOf(machine, slot);
    const [from, to] = [arenaAddress(page), arenaAddress(target)];
    const status = await doMremap(mm, from, length, length, flags, to);
    const { pages } = processOf(model, slot);
    if (Math.abs(target - page) < numbers.length) {
      expect(status).toBe(errno.EINVAL);
      return;
    }
    expect(status).toBe(pages.has(page) ? to : errno.EFAULT);
    if (!pages.has(page)) return;
    for (const at of numbers) {
      const moved = pages.get(at);
      if (moved === undefined) continue;
      pages.set(at - page + target, moved);
      if (dontUnmap) pages.set(at, leftBehind(moved));
      else pages.delete(at);
    }
  }
}

/** What a page reads as that has gone elsewhere: as if it had just been mapped. */
function leftBehind(moved: ModelPage): ModelPage {
  const { isShared, behind, bytes } = moved;
  if (isShared) return { ...moved };
  const isBeyondEnd = behind === null && bytes === null;
  const fresh = behind ?? (isBeyondEnd ? null : new Map<number, number>());
  return { ...moved, bytes: fresh, copyFirst: behind !== null };
}
