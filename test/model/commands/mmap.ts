import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED } from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import { arenaAddress } from '../machine.ts';
import type { Machine } from '../machine.ts';
import { OBJECT_PAGES } from '../model.ts';
import type { Bytes, Model, ModelPage } from '../model.ts';
import { Step, isAlive, pagesOf, processOf, realOf } from './step.ts';
import type { Range } from './step.ts';

interface Args extends Range {
  readonly prot: number;
  readonly isShared: boolean;
  /** -1 = anonymous. */
  readonly object: number;
  readonly pgoff: number;
}

/** mmap over whatever is there, of fresh memory or of an object that may end before the mapping. */
export class Mmap extends Step<Args> {
  check(model: Readonly<Model>): boolean {
    return isAlive(model, this.args.slot);
  }

  protected async act(model: Model, machine: Machine): Promise<void> {
    const { slot, page, prot, isShared, object, pgoff } = this.args;
    const pages = pagesOf(this.args);
    const address = await doMmap(realOf(machine, slot).mm, {
      addr: arenaAddress(page),
      length: pages.length * PAGE_SIZE,
      prot,
      flags: MAP_FIXED | (isShared ? MAP_SHARED : MAP_PRIVATE) | (object < 0 ? MAP_ANONYMOUS : 0),
      ...(object < 0 ? {} : { inode: machine.objects[object]!, pgoff }),
    });
    expect(address).toBe(arenaAddress(page));
    const { pages: arena } = processOf(model, slot);
    pages.forEach((at, i) => arena.set(at, object < 0 ? this.fresh() : this.ofObject(model, i)));
  }

  private fresh(): ModelPage {
    const { prot, isShared } = this.args;
    return { prot, bytes: new Map(), copyFirst: false, behind: null, isShared };
  }

  private ofObject(model: Model, i: number): ModelPage {
    const { prot, isShared, object, pgoff } = this.args;
    const index = pgoff + i;
    const behind: Bytes | null = index < OBJECT_PAGES ? model.objects[object]![index]! : null;
    const copyFirst = !isShared && behind !== null;
    return { prot, bytes: behind, copyFirst, behind, isShared };
  }
}
