/*
 * `npm run vm-costs -- --faults`: what serving faults costs on wall time, with the goals of its
 * three figures, and a curve over the window.
 */
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ServedRun } from '../bench/fault-costs.ts';
import { FaultBench } from '../bench/fault-costs.ts';

const PAGES_PER_MIB = 256;
/** Most that a run under a policy takes of the same done bare. */
const BARE_GOAL = 1.5;
/** The tree, a workgroup at a time, against no prefetch; and its faults for 2 MiB. */
const TREE_GOAL = 10;
const TREE_FAULTS = 6;
/** A copy of 512 pages a command against one page, and the largest step down of the curve. */
const COPY_GOAL = 3;
const STEP_GOAL = 0.9;
const COPY_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const WINDOWS = [1, 4, 16, 64, 128];
/** Pages of a block of 2 MiB. */
const BLOCK = 512;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** Milliseconds in which what a collection has freed is given back. */
const REST_MS = 20;

/**
 * Collects garbage, of which Dawn for Node makes some with each look for finished work, and waits
 * until the objects behind it are gone: each side pays for its own.
 */
async function rest(): Promise<void> {
  collect();
  await setTimeout(REST_MS);
}

/** @returns the exit status: 1 where a goal is missed */
export async function runFaultCosts(mib: number, rounds: number): Promise<number> {
  const large = await FaultBench.open(mib * PAGES_PER_MIB);
  large.rest = rest;
  print(`adapter: ${large.adapter}`);
  let isGood = await againstBare(large, mib, rounds);
  isGood = (await copyCurve(large, rounds)) && isGood;
  await large.close();
  const small = await FaultBench.open(8 * PAGES_PER_MIB);
  small.rest = rest;
  isGood = (await oneByOne(small, Math.max(1, Math.ceil(rounds / 3)))) && isGood;
  await windowCurve(small);
  await small.close();
  return isGood ? 0 : 1;
}

async function againstBare(bench: FaultBench, mib: number, rounds: number): Promise<boolean> {
  const served: number[] = [];
  const bare: number[] = [];
  let last: ServedRun | undefined;
  for (let round = 0; round <= rounds; round++) {
    const first = round % 2 === 0 ? await bench.bare() : undefined;
    last = await bench.served('none', 256);
    const bareMs = first ?? (await bench.bare());
    // The first round warms up.
    if (round === 0) continue;
    bare.push(bareMs);
    served.push(last.ms);
  }
  const { faults, batches, passes } = last!;
  print(
    `${mib} MiB, a word a page, W 256, batch 256: ${faults} faults, ${batches} batches, ` +
      `${passes} passes; median ${ms(median(served))}, bare ${ms(median(bare))}`,
  );
  const ratio = median(served.map((one, i) => one / bare[i]!));
  const best = (Math.min(...served) / Math.min(...bare)).toFixed(2);
  const what = `over bare ${ratio.toFixed(2)}, median of the rounds' ratios; best rounds ${best}`;
  return judge(what, ratio <= BARE_GOAL, `at most ${BARE_GOAL}`);
}

async function oneByOne(bench: FaultBench, rounds: number): Promise<boolean> {
  const ratios: number[] = [];
  let tree: ServedRun | undefined;
  let none: ServedRun | undefined;
  for (let round = 0; round < rounds; round++) {
    tree = await bench.served('uvm', 1, BLOCK);
    none = await bench.served('none', 1, BLOCK);
    ratios.push(none.ms / tree.ms);
  }
  const ratio = median(ratios);
  const perBlock = tree!.faults / (bench.pages / BLOCK);
  print(
    `W 1, 8 MiB, a workgroup goes over 2 MiB: none ${none!.faults} faults, ${ms(none!.ms)}; ` +
      `tree ${tree!.faults}, ${ms(tree!.ms)}`,
  );
  const isFaster = judge(
    `none/tree ${ratio.toFixed(1)}`,
    ratio >= TREE_GOAL,
    `at least ${TREE_GOAL}`,
  );
  return (
    judge(`tree: ${perBlock} faults per 2 MiB`, perBlock === TREE_FAULTS, `${TREE_FAULTS}`) &&
    isFaster
  );
}

async function windowCurve(bench: FaultBench): Promise<void> {
  print(
    'a workgroup goes over 16 pages\n' +
      'window  none ms (faults, batches)    tree ms (faults, batches)',
  );
  for (const window of WINDOWS) {
    const cells: string[] = [];
    for (const policy of ['none', 'uvm']) {
      const { ms: took, faults, batches } = await bench.served(policy, window, 16);
      cells.push(`${took.toFixed(0)} (${faults}, ${batches})`.padEnd(28));
    }
    print(`${String(window).padStart(6)}  ${cells.join(' ')}`);
  }
}

async function copyCurve(bench: FaultBench, rounds: number): Promise<boolean> {
  const rates: number[][] = COPY_SIZES.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, size] of COPY_SIZES.entries()) {
      const rate = await bench.copyRate(Math.min(1024, bench.pages), size);
      if (round > 0) rates[i]!.push(rate);
    }
  }
  // What else the machine does only ever slows a copy down.
  const curve = rates.map((of) => Math.max(...of));
  const cells = COPY_SIZES.map((size, i) => `${size}: ${curve[i]!.toFixed(2)}`);
  print(`pages per command: ${cells.join(', ')} GB/s`);
  const gain = curve.at(-1)! / curve[0]!;
  const step = Math.min(...curve.slice(1).map((rate, i) => rate / curve[i]!));
  const isFaster = judge(`512/1 ${gain.toFixed(1)}`, gain >= COPY_GOAL, `at least ${COPY_GOAL}`);
  return (
    judge(`worst step ${step.toFixed(2)}`, step >= STEP_GOAL, `at least ${STEP_GOAL}`) && isFaster
  );
}

function judge(what: string, isGood: boolean, goal: string): boolean {
  print(`${isGood ? 'PASS' : 'FAIL'} ${what} (${goal})`);
  return isGood;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1]!;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
