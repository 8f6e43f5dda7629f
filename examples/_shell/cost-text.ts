/*
 * A cost model as a short text, of the terms that differ from the defaults: "farFaultUs:20". It
 * stands in addresses, and says in words what each term is.
 */
import { COST_MODEL, readCostModel } from '../../src/index.ts';
import type { CostModel } from '../../src/index.ts';

/** What each term is. `linkGiBs` and the like say their unit in their names. */
export const COST_HELP: Readonly<Record<keyof CostModel, string>> = {
  farFaultUs: 'a far fault, charged each by itself',
  batchUs: 'a batch of faults',
  batchPerKibUs: 'its time per KiB',
  prefetchBatchUs: 'a batch with prefetched pages',
  prefetchPerKibUs: 'its time per KiB',
  recordUs: 'a fault record',
  firstTouch: 'what pages add that come for the first time, times the rest',
  evictBlockUs: 'an evicted block, besides its transfer',
  replayUs: 'a replay',
  cpuFaultUs: 'a CPU fault, besides its transfer',
  accessUs: 'an access to a page that is there',
  remoteUs: 'what an access over the link adds',
  setupUs: 'setting up a managed allocation',
  explicitUs: 'the start of an explicit copy',
  explicitGBs: 'its bandwidth',
  linkGiBs: 'bandwidth of long transfers',
  linkKnee: 'how soon it is reached',
  commandUs: 'a copy command',
  commandGBs: 'bandwidth inside it',
};

/** All terms, in the order in which they are shown. */
export const COST_TERMS = Object.keys(COST_HELP) as (keyof CostModel)[];

/**
 * Reads "farFaultUs:20,linkGiBs:24".
 *
 * @throws CostError that names the term
 */
export function costFrom(text: string): CostModel {
  const pairs = text.split(',').filter((pair) => pair !== '');
  const terms = pairs.map((pair) => {
    const [term = '', value = ''] = pair.split(':');
    return [term, value.trim() === '' ? Number.NaN : Number(value)] as const;
  });
  return readCostModel(Object.fromEntries(terms));
}

/** The text of a cost model; empty for the defaults. */
export function costText(cost: CostModel): string {
  const changed = COST_TERMS.filter((term) => cost[term] !== COST_MODEL[term]);
  return changed.map((term) => `${term}:${cost[term]}`).join();
}
