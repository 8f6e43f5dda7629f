/*
 * What the lab runs, as its form and its address have it.
 */
import { EVICTIONS, LAUNCH_FAILURES, POLICIES, REPLAYS, WORKLOADS } from '../../src/index.ts';
import type { AccessTrace, LaunchServiceOptions } from '../../src/index.ts';
import { costFrom } from '../_shell/cost-text.ts';
import { SAMPLE_POLICY } from '../_shell/own-policy.ts';
import { choice, text, whole } from '../_shell/settings.ts';
import type { Settings } from '../_shell/settings.ts';
import { pagesOfOrder } from './kernel-run.ts';
import type { KernelOrder } from './kernel-run.ts';
import { EXAMPLE_NAMES, exampleKernel } from './kernels.ts';
import type { LabOptions } from './lab-run.ts';
import type { LabPolicy, LabSetup } from './lab-setup.ts';

const PAGES_PER_MIB = 256;
const MOST_WORKGROUPS = 1_048_576;

/** The names of a side's policies: all, and the one in the editor. */
export const LAB_POLICIES = [...POLICIES, 'yours'] as const;
/** One of them. */
export type LabPolicyName = (typeof LAB_POLICIES)[number];

/** How fast the virtual clock goes, µs a second; the whole run at once. */
export const SPEEDS = ['100', '1000', '10000', '100000', 'full'] as const;

/** All settings of the page. */
export const FIELDS = {
  workload: choice(WORKLOADS, 'graph'),
  size: whole(8, 1, 64),
  passes: whole(null, 1, 1000),
  oversub: whole(125, 1, 100_000),
  a: choice(LAB_POLICIES, 'uvm'),
  b: choice(LAB_POLICIES, 'adaptive'),
  speed: choice(SPEEDS, 'full'),
  window: whole(160, 1, MOST_WORKGROUPS),
  batch: whole(null, 1, 65_536),
  replay: choice(['own', ...REPLAYS] as const, 'own'),
  evict: choice(['own', ...EVICTIONS] as const, 'own'),
  dedup: choice(['off', 'on'] as const, 'off'),
  seed: whole(1, 0, 2 ** 32 - 1),
  cost: text('', (given) => void costFrom(given)),
  code: text(SAMPLE_POLICY),
} as const;

/** Values of them. */
export type LabSettings = Settings<typeof FIELDS>;

/** What a side runs; `trace`, where there is one, instead of a workload. */
export function setupOf(
  settings: LabSettings,
  side: 'a' | 'b',
  trace: AccessTrace | null,
): LabSetup {
  const { workload, size, passes, oversub, window, batch, replay, dedup, seed } = settings;
  const options: LabOptions = {
    oversub,
    window,
    dedup: dedup === 'on',
    seed,
    cost: costFrom(settings.cost),
    traits: {
      ...(replay === 'own' ? {} : { replay }),
      ...(batch === null ? {} : { batchLimit: batch }),
    },
  };
  const work = trace ?? { name: workload, pages: size * PAGES_PER_MIB, passes };
  return { work, policy: policyOf(settings, settings[side]), options };
}

/** The policy that a name stands for, with the lab's order of eviction. */
export function policyOf({ evict, code }: LabSettings, name: LabSettings['a']): LabPolicy {
  if (name === 'yours') return { kind: 'own', code };
  return { kind: 'named', name, evict: evict === 'own' ? null : evict };
}

/** Settings of the kernel that is run for real. */
export const KERNEL_FIELDS = {
  kernel: choice(EXAMPLE_NAMES, 'stencil'),
  kib: whole(128, 4, 4096),
  fit: whole(50, 1, 100),
  groups: whole(64, 1, 4096),
  kseed: whole(1, 0, 2 ** 32 - 1),
  mover: choice(['single', ...LAB_POLICIES] as const, 'single'),
  fail: choice(['nothing', ...LAUNCH_FAILURES] as const, 'nothing'),
  failat: whole(2, 0, 10_000),
  wgsl: text(''),
} as const;

/** Values of them. */
export type KernelSettings = Settings<typeof KERNEL_FIELDS>;

/** The service of a real run, as the lab's sides have it. */
export function serviceOf({ cost, evict, replay, batch }: LabSettings): LaunchServiceOptions {
  return {
    cost: costFrom(cost),
    ...(evict === 'own' ? {} : { evict }),
    ...(replay === 'own' ? {} : { replay }),
    ...(batch === null ? {} : { batchLimit: batch }),
  };
}

/**
 * The kernel that settings ask for: the text, or else the example's. Pages move one by one, and
 * with a policy by the service that it is given.
 */
export function orderOf(
  settings: KernelSettings,
  policy: LabPolicy | null = null,
  service: LaunchServiceOptions = {},
): KernelOrder {
  const { kernel, kib, fit, groups, kseed, fail, failat, wgsl } = settings;
  const { fills, wgsl: example } = exampleKernel(kernel);
  // Whole pages, so that arrays begin at one.
  const words = Math.ceil(kib / 4) * 1024;
  const pages = pagesOfOrder({ fills, words });
  return {
    wgsl: wgsl === '' ? example : wgsl,
    fills,
    words,
    devicePages: Math.max(1, Math.floor((pages * fit) / 100)),
    window: groups,
    seed: kseed,
    policy,
    service,
    failure: fail === 'nothing' ? null : { what: fail, after: failat },
  };
}
