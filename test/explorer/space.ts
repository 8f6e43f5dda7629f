/*
 * The words that actors share, by name. A state of the whole system is an array of integers: which
 * execution each actor is in, how each is doing, and these words.
 */

/** Words of a state that are not shared memory, for `actors` of them. */
export const BUDGETS = 2;

export class Space {
  readonly width: number;
  private readonly first: number;
  private readonly names = new Map<string, number>();

  /** @param width Words of a state, at most. */
  constructor(actors: number, width: number) {
    this.first = 2 * actors + BUDGETS;
    this.width = width;
  }

  /** Index of the word with that name. Words that were not heard of before hold 0. */
  at(name: string): number {
    let at = this.names.get(name);
    if (at === undefined) {
      at = this.first + this.names.size;
      if (at >= this.width) throw new Error(`more than ${this.width} words: ${name}`);
      this.names.set(name, at);
    }
    return at;
  }

  /** All names and their indices. */
  entries(): IterableIterator<[string, number]> {
    return this.names.entries();
  }
}
