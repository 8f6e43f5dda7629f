/**
 * The VMAs that may map pages of one object, by linear page index (mm/interval_tree.c). Linux has
 * an augmented red-black tree; here it is an array sorted by first index, plus the length of the
 * longest VMA in it: a lookup starts at the first VMA that could reach the index.
 *
 * A VMA must be out of the collection while its vmPgoff, vmStart or vmEnd changes.
 */
import { assert } from '../base/assert.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { Vma } from './mm-types.ts';

function vmaPages(vma: Vma): number {
  return (vma.vmEnd - vma.vmStart) / PAGE_SIZE;
}

export class VmaIntervals {
  /** Sorted by vmPgoff. */
  readonly vmas: Vma[] = [];
  /** Pages of the longest VMA; an upper bound while `longestIsStale`. */
  private longest = 0;
  private longestIsStale = false;

  insert(vma: Vma): void {
    this.longest = Math.max(this.longest, vmaPages(vma));
    this.vmas.splice(this.lowerBound(vma.vmPgoff), 0, vma);
  }

  remove(vma: Vma): void {
    let at = this.lowerBound(vma.vmPgoff);
    while (at < this.vmas.length && this.vmas[at] !== vma) at++;
    assert(at < this.vmas.length, 'I10: a VMA is where the reverse map looks for it');
    this.vmas.splice(at, 1);
    if (vmaPages(vma) === this.longest) this.longestIsStale = true;
  }

  /** Position of the first VMA that can reach `index`; go on while vmPgoff <= index. */
  firstCandidate(index: number): number {
    if (this.longestIsStale) this.measure();
    return this.lowerBound(index - this.longest + 1);
  }

  private measure(): void {
    this.longest = 0;
    for (const vma of this.vmas) this.longest = Math.max(this.longest, vmaPages(vma));
    this.longestIsStale = false;
  }

  /** First position whose vmPgoff is at least `index`. */
  private lowerBound(index: number): number {
    let low = 0;
    let high = this.vmas.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.vmas[middle]!.vmPgoff < index) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
