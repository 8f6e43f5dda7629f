/**
 * A seeded pseudo random generator (sfc32: small, fast, passes PractRand), so that each random
 * test, bench content and simulation repeats from one printed 32-bit seed. `fork` gives a named
 * stream: adding a draw in one stream leaves the others alone.
 */
export class Prng {
  readonly seed: number;
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.a = this.seed;
    this.b = (this.seed ^ 0x9e3779b9) >>> 0;
    this.c = (this.seed ^ 0x85ebca6b) >>> 0;
    // The first outputs of sfc32 still show the seed; 12 rounds mix it through.
    for (let i = 0; i < 12; i++) this.nextU32();
  }

  /** Next 32 random bits, as an unsigned integer. */
  nextU32(): number {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** Uniform integer in [0, bound), bound from 1 to 2^32. */
  below(bound: number): number {
    return Math.floor((this.nextU32() / 2 ** 32) * bound);
  }

  /** True with the given probability (0 to 1). */
  chance(probability: number): boolean {
    return this.nextU32() < probability * 2 ** 32;
  }

  /** Shuffles `items` in place (Fisher and Yates) and returns it. */
  shuffle<T extends { length: number; [i: number]: number }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = items[i]!;
      items[i] = items[j]!;
      items[j] = held;
    }
    return items;
  }

  /** An independent stream named `name`, the same for the same seed and name. */
  fork(name: string): Prng {
    let hash = this.seed ^ 0x811c9dc5;
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    }
    return new Prng(hash >>> 0);
  }
}
