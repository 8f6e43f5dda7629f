/** The timing of TLB hits, in the thread of the core. */
import { PAGE_SIZE } from '../src/index.ts';
import type { ProgramCpu } from '../src/index.ts';
import { ACCESSES, LOOP_BYTES, LOOP_PAIRS, RawViews } from './tlb-loops.ts';

const KIB = 1024;
/** Runs of the plain side that make one sample of a loop: long against a clock of 5 us. */
const REPEATS = 64;
const WARMUPS = 256;
/** Of bulk operations: engines compile a function after some thousand calls, a loop much sooner. */
const BULK_WARMUPS = 4096;
/** Where the plain twin of the range starts: not at 0, so that its base has to be added, too. */
const RAW_BASE = 2 * PAGE_SIZE;
const SMALLEST = 64 * KIB;
const MOST = 4096 * KIB;
/** Of one sample of a bulk operation: half a millisecond, against a clock of 5 us. */
const BULK_BYTES = 4 * MOST;
/** Bytes that the core's process has mapped. */
export const TLB_BYTES = 2 * MOST;

/** Bulk operations and their sizes. */
export const BULK_CASES = [SMALLEST, 1024 * KIB, MOST].flatMap((bytes) =>
  (['read', 'write', 'copy', 'fill'] as const).map((name) => ({ name, bytes })),
);

/** Microseconds of one run, in pairs. */
export interface TlbTimes {
  readonly name: string;
  readonly core: number[];
  readonly plain: number[];
  /** Runs of each side that make one sample. */
  readonly repeats: { readonly core: number; readonly plain: number };
}

function timed(work: () => unknown, repeats: number): number {
  const begun = performance.now();
  for (let i = 0; i < repeats; i++) work();
  return ((performance.now() - begun) * 1000) / repeats;
}

/**
 * Times both sides in turn. Their samples last equally long, so that what interrupts them meets
 * both alike.
 *
 * @param repeats Runs of the plain side that make one sample. @param warmups Runs of each before.
 */
function compare(
  name: string,
  ours: () => unknown,
  raw: () => unknown,
  { pairs, repeats, warmups }: { pairs: number; repeats: number; warmups: number },
): TlbTimes {
  const core: number[] = [];
  const plain: number[] = [];
  for (let i = 0; i < warmups; i++) {
    ours();
    raw();
  }
  const runs = Math.max(
    1,
    Math.round((repeats * leastTime(raw, repeats)) / leastTime(ours, repeats)),
  );
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 0) core.push(timed(ours, runs));
    plain.push(timed(raw, repeats));
    if (pair % 2 === 1) core.push(timed(ours, runs));
  }
  return { name, core, plain, repeats: { core: runs, plain: repeats } };
}

/** Microseconds of a run when nothing interrupts it. */
function leastTime(work: () => unknown, repeats: number): number {
  let least = Infinity;
  for (let i = 0; i < 4; i++) least = Math.min(least, timed(work, repeats));
  return least;
}

/** Times everything on [base, base + TLB_BYTES), which nobody else uses. */
export function timeTlb(cpu: ProgramCpu, base: number, pairs: number): TlbTimes[] {
  const views = new RawViews(new SharedArrayBuffer(LOOP_BYTES + RAW_BASE));
  const words = LOOP_BYTES / 4;
  const offsets = Uint32Array.from(
    { length: ACCESSES },
    (_, i) => ((Math.imul(i, 2_654_435_761) >>> 7) % words) * 4,
  );
  const loops = LOOP_PAIRS.map(({ name, ours, raw }) =>
    compare(
      name,
      () => ours(cpu, base, offsets),
      () => raw(views, RAW_BASE, offsets),
      { pairs, repeats: REPEATS, warmups: WARMUPS },
    ),
  );
  return [...loops, ...timeBulk(cpu, base, pairs)];
}

function timeBulk(cpu: ProgramCpu, base: number, pairs: number): TlbTimes[] {
  const shared = new Uint8Array(new SharedArrayBuffer(2 * MOST));
  const buffer = new Uint8Array(MOST);
  return BULK_CASES.map(({ name, bytes }) => {
    const mine = buffer.subarray(0, bytes);
    const other = shared.subarray(0, bytes);
    const source = shared.subarray(MOST, MOST + bytes);
    const [ours, plain] = {
      read: [() => cpu.read(base, mine), () => mine.set(other)],
      write: [() => cpu.write(base, mine), () => other.set(mine)],
      copy: [() => cpu.copy(base, base + MOST, bytes), () => other.set(source)],
      fill: [() => cpu.fill(base, bytes, 3), () => other.fill(3)],
    }[name] as [() => unknown, () => unknown];
    const repeats = BULK_BYTES / bytes;
    // All sizes are the same functions.
    const warmups = bytes === SMALLEST ? BULK_WARMUPS : repeats;
    return compare(`${name} of ${bytes / KIB} KiB`, ours, plain, { pairs, repeats, warmups });
  });
}
