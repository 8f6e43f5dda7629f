/**
 * What the facade offers of fault policies and of the model of device faults.
 */
export { answerPrefetchQuery, PREFETCHERS, QueryError } from './prefetch-query.ts';
export type { PrefetchAnswer, PrefetcherName } from './prefetch-query.ts';
