/**
 * Random numbers of the simulator. Each step has a seed of its own, from which everything that the
 * step decides is drawn, so that leaving a step out of a run changes the others as little as
 * possible. `Prng` of src/base costs an allocation and twelve rounds per seed; this one is a single
 * multiplication (mulberry32), which is random enough to pick a page.
 */
export class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** Starts over from another seed. */
  reseed(seed: number): void {
    this.state = seed >>> 0;
  }

  /** Next 32 random bits, as an unsigned integer. */
  u32(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** Uniform integer in [0, bound), bound from 1 to 2^32. */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound);
  }

  /** True with the given probability (0 to 1). */
  chance(probability: number): boolean {
    return this.u32() < probability * 2 ** 32;
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}
