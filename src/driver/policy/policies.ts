/**
 * All policies by name.
 */
import { KfdPolicy } from './drivers/kfd.ts';
import { NouveauPolicy } from './drivers/nouveau.ts';
import { SmartPolicy } from './drivers/smart.ts';
import type { SmartOptions } from './drivers/smart.ts';
import { UvmPolicy } from './drivers/uvm.ts';
import type { UvmOptions } from './drivers/uvm.ts';
import { XePolicy } from './drivers/xe.ts';
import type { EvictionName } from './eviction.ts';
import type { FaultPolicy, PolicyFactory, PolicySetup } from './policy.ts';

/** Names of all policies. */
export const POLICIES = [
  'uvm',
  'xe',
  'kfd',
  'nouveau',
  'tbn',
  'sl64k',
  'random',
  'adaptive',
  'none',
] as const;
/** Names of policies. */
export type PolicyName = (typeof POLICIES)[number];

/** What each policy is, in a line. */
export const POLICY_HELP: Readonly<Record<PolicyName, string>> = {
  uvm: "NVIDIA's driver: density tree, thrashing detector, least recently allocated block",
  xe: "Intel's: ranges of 2M, 64K or 4K, all or nothing, timeslice",
  kfd: "AMD's: a window of 2^granularity pages",
  nouveau: 'maps RAM; moves nothing by itself',
  tbn: "UVMSmart's tree-based neighbourhood",
  sl64k: "UVMSmart's sequential-local 64K",
  random: "UVMSmart's random prefetcher",
  adaptive: "UVMSmart's remote access until moving pays",
  none: 'the faulted page alone',
};

/** Choices that some policies leave open. */
export interface PolicyChoice {
  readonly evict?: EvictionName;
  /** log2 of the pages of a window (kfd). */
  readonly granularity?: number;
  readonly uvm?: Partial<UvmOptions>;
  readonly smart?: Partial<SmartOptions>;
}

/** @returns what makes the policy of that name for a run */
export function policyByName(name: PolicyName, choice: PolicyChoice = {}): PolicyFactory {
  return (setup) => make(name, choice, setup);
}

function make(name: PolicyName, choice: PolicyChoice, setup: PolicySetup): FaultPolicy {
  const evict = choice.evict === undefined ? {} : { evict: choice.evict };
  const smart = (options: Partial<SmartOptions>): FaultPolicy =>
    new SmartPolicy(name, setup, { ...options, ...evict, ...choice.smart });
  switch (name) {
    case 'uvm':
      return new UvmPolicy(setup, { ...evict, ...choice.uvm });
    case 'xe':
      return new XePolicy(setup);
    case 'kfd':
      return new KfdPolicy(setup, choice.granularity);
    case 'nouveau':
      return new NouveauPolicy();
    case 'tbn':
    case 'sl64k':
    case 'random':
    case 'none':
      return smart({ prefetch: name, pressurePrefetch: name });
    case 'adaptive':
      return smart({ remote: 'adaptive', prefetch: 'sl64k', pressurePrefetch: 'sl64k' });
  }
}
