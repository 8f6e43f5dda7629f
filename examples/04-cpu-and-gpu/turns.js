/*
 * The program that each core runs: it adds 1 to words all over an array that the devices keep
 * taking away, and notes how long the accesses took that had to fault.
 *
 * Plain JavaScript without imports: a program is a module that a core loads as it is.
 */

/** Words of the control page: see scene.ts. */
const STOP = 0;
const CORE_WORDS = 64;
const ADDS = 0;
const BUCKETS = 8;
const LAST_BUCKET = 31;
/** Words that are added to in each page that a core visits. */
const WORDS_PER_VISIT = 8;

/** A small generator, so that a run can be repeated: xorshift. */
function randomFrom(seed) {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

export default function main(cpu, { array, pages, control, core, sleepMs }) {
  const own = control + (1 + core) * CORE_WORDS * 4;
  const random = randomFrom(0x9e3779b9 * (core + 1));
  let adds = 0;
  while (cpu.load32(control + STOP * 4) === 0) {
    const page = array + random(pages) * 4096;
    for (let i = 0; i < WORDS_PER_VISIT; i++) {
      const traps = cpu.traps;
      const start = performance.now();
      cpu.atomicAdd(page + random(1024) * 4, 1);
      const us = (performance.now() - start) * 1000;
      adds++;
      if (cpu.traps === traps) continue;
      // Bucket n is for times below 2^n microseconds.
      const bucket = Math.min(Math.ceil(Math.log2(Math.max(us, 1))), LAST_BUCKET);
      cpu.atomicAdd(own + (BUCKETS + bucket) * 4, 1);
    }
    cpu.store32(own + ADDS * 4, adds);
    if (sleepMs > 0) cpu.sleep(sleepMs);
  }
  return 0;
}
