/**
 * Fails each allocation and each copy of a run, one after the other: a run with the first one
 * failing, one with the second, and so on until a run has fewer than that. Whatever refuses, the
 * machine must stay right and everything must come to rest.
 */
import { errno } from '../base/errno.ts';
import { makeConfig } from './config.ts';
import type { SimConfig } from './config.ts';
import { OPERATIONS } from './ops/table.ts';
import type { SimResult } from './run.ts';
import type { Attempt } from './shrink.ts';
import type { World } from './world.ts';

/** What can be refused: pages of RAM, page tables, pages of devices, rows of copies. */
export const NTH_SITES = ['page', 'table', 'devicePage', 'copy'] as const;
export type NthSite = (typeof NTH_SITES)[number];

export interface NthResult {
  readonly site: NthSite;
  /** Runs in which the failure happened. */
  readonly failures: number;
  /** The run that went wrong, null = none. */
  readonly broken: SimResult | null;
}

/** How often the site was reached, and whether its time has come. */
interface Trap {
  reached: number;
  readonly at: number;
}

/** The configuration of a seed with neither faults nor rests, which would end them. */
export function calmConfig(seed: number): SimConfig {
  const config = makeConfig(seed, OPERATIONS);
  const weights: Record<string, number> = { ...config.weights };
  for (const { name, isFault } of OPERATIONS) if (isFault === true) weights[name] = 0;
  return { ...config, ramPages: 420, restEvery: 2 ** 31, weights };
}

/** Fails the 1st, 2nd, ... use of a site in runs of one seed, until a run is clean. */
export async function failEachNth(
  site: NthSite,
  seed: number,
  steps: number,
  attempt: Attempt,
): Promise<NthResult> {
  const config = calmConfig(seed);
  for (let at = 1; ; at++) {
    const trap: Trap = { reached: 0, at };
    const prepare = (world: World): void => setTrap(world, site, trap);
    const result = await attempt({ config, steps, prepare });
    if (result.failure !== null) return { site, failures: at, broken: result };
    if (trap.reached < at) return { site, failures: at - 1, broken: null };
  }
}

function setTrap(world: World, site: NthSite, trap: Trap): void {
  const { pageAllocator, pageTables } = world.sys;
  // Set for the whole run: it is what excuses a refusal.
  if (site === 'copy') world.copiesFailed = true;
  else world.memoryFailed = true;
  const springs = (): boolean => !world.isResting && ++trap.reached === trap.at;
  if (site === 'copy') {
    world.copies.fails = springs;
  } else if (site === 'page') {
    refuse(pageAllocator, 'pop', springs);
    refuse(pageAllocator, 'popHuge', springs);
  } else if (site === 'table') {
    refuse(pageTables, 'allocTable', springs);
  } else {
    for (const { device } of world.devices) refuse(device.memory, 'allocPage', springs);
  }
}

/** Makes a method answer ENOMEM when `springs` says so. */
function refuse<K extends string>(
  owner: Record<K, () => number>,
  method: K,
  springs: () => boolean,
): void {
  const inner = owner[method].bind(owner);
  owner[method] = () => (springs() ? errno.ENOMEM : inner());
}
