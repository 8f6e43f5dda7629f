/*
 * What the page sweeps, as its form and its address have it.
 */
import { EVICTIONS, REPLAYS, WORKLOADS } from '../../src/index.ts';
import type { AccessTrace } from '../../src/index.ts';
import { costFrom } from '../_shell/cost-text.ts';
import { SAMPLE_POLICY } from '../_shell/own-policy.ts';
import { choice, list, text, whole } from '../_shell/settings.ts';
import type { Settings } from '../_shell/settings.ts';
import { CONTENDERS, RATIOS } from './sweep.ts';
import type { Contender, SweepOptions } from './sweep.ts';

const PAGES_PER_MIB = 256;
const MOST_WORKGROUPS = 1_048_576;
const SHOWN_FIRST: readonly Contender[] = ['uvm', 'kfd', 'tbn', 'adaptive', 'none', 'tbn-lru4k'];

/** All settings of the page. */
export const FIELDS = {
  workload: choice(WORKLOADS, 'cyclic'),
  size: whole(16, 1, 256),
  passes: whole(null, 1, 1000),
  points: choice(['few', 'many'] as const, 'few'),
  policies: list(CONTENDERS, SHOWN_FIRST),
  evict: choice(['own', ...EVICTIONS] as const, 'own'),
  replay: choice(['own', ...REPLAYS] as const, 'own'),
  window: whole(160, 1, MOST_WORKGROUPS),
  batch: whole(null, 1, 65_536),
  seed: whole(1, 0, 2 ** 32 - 1),
  cost: text('', (given) => void costFrom(given)),
  code: text(SAMPLE_POLICY),
} as const;

/** Values of them. */
export type SweepSettings = Settings<typeof FIELDS>;

/** The sweep that settings ask for; `trace`, where there is one, is run instead of a workload. */
export function sweepOf(settings: SweepSettings, trace: AccessTrace | null): SweepOptions {
  const { workload, size, passes, points, policies, evict, replay, batch } = settings;
  const { window, seed, cost } = settings;
  return {
    work: trace ?? { name: workload, pages: size * PAGES_PER_MIB, passes },
    contenders: CONTENDERS.filter((name) => policies.includes(name)),
    ratios: RATIOS[points],
    evict: evict === 'own' ? null : evict,
    replay: replay === 'own' ? null : replay,
    batchLimit: batch,
    window,
    seed,
    cost: costFrom(cost),
  };
}
