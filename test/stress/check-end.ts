/* The end of a stress run: what memory holds is what cores and devices say they did. */
import { PAGE_SIZE } from '../../src/index.ts';
import type { Process } from '../../src/index.ts';
import { COUNTER_SLOTS } from './layout.ts';
import type { Region, StressProcess } from './layout.ts';
import type { CoreReport, DeviceSums } from './stress.ts';
import { hashOf } from './words.ts';

const WORDS = PAGE_SIZE / 4;

/** Throws what is not as it must be. */
export async function checkEnd(
  processes: readonly StressProcess[],
  reports: readonly CoreReport[],
  sums: DeviceSums,
): Promise<void> {
  const everybody = processes.flatMap(({ cores }) => cores);
  for (const owner of processes) {
    for (const [at, region] of owner.words.entries()) {
      const words = await wordsOf(owner.process, region);
      for (const core of owner.cores) {
        const rank = region.isShared ? core : owner.cores.indexOf(core);
        const hash = hashOf(words, rank, region.sharers);
        if (hash === reports[core]!.hashes![at]) continue;
        throw new Error(`the words of core ${core} in ${region.name} are not what it stored`);
      }
    }
    for (const at of [0, 1]) {
      const adders = at === 0 ? owner.cores : everybody;
      const parts = processes.map(({ counters }) => sums.get(counters[at]!)!);
      const added = at === 0 ? [sums.get(owner.counters[0]!)!] : parts;
      const tallies = adders.map((core) => reports[core]!.counters![at]!);
      await checkCounters(owner.process, owner.counters[at]!, tallies, added);
      const locks = adders.map((core) => reports[core]!.locks![at]!);
      await checkRecords(owner.process, owner.locks[at]!, locks);
    }
  }
}

async function wordsOf(process: Process, { addr, pages }: Region): Promise<Uint32Array> {
  return new Uint32Array((await process.read(addr, pages * PAGE_SIZE)).buffer);
}

async function checkCounters(
  process: Process,
  region: Region,
  tallies: readonly (readonly number[])[],
  added: readonly Uint32Array[],
): Promise<void> {
  const words = await wordsOf(process, region);
  const stride = WORDS / COUNTER_SLOTS;
  for (let i = 0; i < words.length; i++) {
    const page = Math.floor(i / WORDS);
    let expected = 0;
    for (const amounts of added) expected += amounts[page]!;
    if (i % stride === 0) for (const tally of tallies) expected += tally[i / stride]!;
    if (words[i] === expected >>> 0 || words[i] === expected % 2 ** 32) continue;
    throw new Error(`${region.name}: word ${i} is ${words[i]}, expected ${expected % 2 ** 32}`);
  }
}

async function checkRecords(
  process: Process,
  region: Region,
  tallies: readonly (readonly number[])[],
): Promise<void> {
  const words = await wordsOf(process, region);
  for (let page = 0; page < region.pages; page++) {
    const expected = tallies.reduce((sum, tally) => sum + tally[page]!, 0);
    const lock = words[page * WORDS];
    if (lock !== 0) throw new Error(`${region.name}: lock ${page} is held by ${lock}`);
    for (let i = 0; i < 8; i++) {
      const value = words[page * WORDS + 16 + i * 8];
      if (value === expected) continue;
      throw new Error(`${region.name}: record ${page} is ${value}, expected ${expected}`);
    }
  }
}
