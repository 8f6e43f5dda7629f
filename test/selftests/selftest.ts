/*
 * What a selftest is, and how the suite's selftests become the instances of a run: each test of a
 * fixture for each variant of it, in the order and under the names that kselftest prints,
 * "fixture.variant.test".
 */
import type { MachineOptions } from '../../src/index.ts';
import type { HmmTest } from './hmm-test.ts';

/** Kernel fixtures, and `webhmm` for tests of our own. */
export type FixtureName = 'hmm' | 'hmm2' | 'webhmm';

/** Variants of the fixtures: which kind of device memory. */
export type VariantName = 'private' | 'coherent';

export interface Selftest {
  readonly fixture: FixtureName;
  readonly name: string;
  /** Variants that it runs on; default all of its fixture's, for `webhmm` the private one. */
  readonly variants?: readonly VariantName[];
  /** Numbers of the features that it proves, for docs/features.md. */
  readonly features?: readonly number[];
  /** What its machine has beyond SELFTEST_MACHINE, if one like that can be had. */
  readonly machine?: (variant: VariantName) => MachineOptions;
  readonly run: (test: HmmTest) => Promise<void>;
}

/** One test on one variant of its fixture. */
export interface Instance {
  /** As printed: "hmm.hmm_device_private.anon_read". */
  readonly id: string;
  /** Fixture and variant: "hmm.hmm_device_private". */
  readonly group: string;
  readonly selftest: Selftest;
  readonly variant: VariantName;
  /** Minor numbers of the devices that the fixture opens. */
  readonly minors: readonly number[];
}

export interface Selection {
  /** Kept are instances whose id matches; all of the kernel's where absent. */
  readonly filter?: RegExp | undefined;
  readonly variant?: VariantName | undefined;
}

interface Fixture {
  readonly name: FixtureName;
  /** How many devices it opens. */
  readonly devices: number;
  /** Variants of tests that don't say. */
  readonly variants: readonly VariantName[];
}

const VARIANTS: readonly VariantName[] = ['private', 'coherent'];

const FIXTURES: readonly Fixture[] = [
  { name: 'hmm', devices: 1, variants: VARIANTS },
  { name: 'hmm2', devices: 2, variants: VARIANTS },
  { name: 'webhmm', devices: 2, variants: ['private'] },
];

/** The first minor of each kind of device, as in lib/test_hmm.c. */
const FIRST_MINOR: Readonly<Record<VariantName, number>> = { private: 0, coherent: 2 };

/**
 * The instances of a run, in kselftest's order.
 *
 * A filter is matched against the kernel's own tests. Ours (fixture `webhmm`) take part only if it
 * names their fixture, so that `migrate` means the kernel's tests of that name.
 */
export function selectInstances(
  suite: readonly Selftest[],
  { filter, variant }: Selection,
): Instance[] {
  const own = filter?.source.includes('webhmm') === true;
  return FIXTURES.flatMap((fixture) =>
    VARIANTS.filter((name) => variant === undefined || name === variant).flatMap((name) =>
      instancesOf(suite, fixture, name),
    ),
  ).filter(({ id, selftest }) => {
    if (selftest.fixture === 'webhmm' && !own) return false;
    return filter === undefined || filter.test(id);
  });
}

function instancesOf(
  suite: readonly Selftest[],
  { name, devices, variants }: Fixture,
  variant: VariantName,
): Instance[] {
  const first = FIRST_MINOR[variant];
  const minors = Array.from({ length: devices }, (_, i) => first + i);
  const group = `${name}.${name}_device_${variant}`;
  return suite
    .filter((selftest) => selftest.fixture === name)
    .filter((selftest) => (selftest.variants ?? variants).includes(variant))
    .map((selftest) => ({ id: `${group}.${selftest.name}`, group, selftest, variant, minors }));
}
