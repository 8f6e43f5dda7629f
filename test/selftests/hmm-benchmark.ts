/*
 * The kernel's benchmark of migration with and without huge pages (hmm-tests.c:
 * benchmark_thp_migration). It asks for success only; times and rates are printed, none is too
 * slow.
 *
 * The largest size needs a machine of its own (`machine`). Where that can't be had, sizes that
 * don't fit are left out, and said to be.
 */
import { MADV_HUGEPAGE, MADV_NOHUGEPAGE, PAGE_SIZE, PMD_SIZE } from '../../src/index.ts';
import type { MachineOptions } from '../../src/index.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest, VariantName } from './selftest.ts';

const MIB = 2 ** 20;
/** Sizes in PMD ranges. */
const SIZES = [1 / 4, 1 / 2, 1, 2, 4, 8, 128] as const;
/** What the pages of a device copy pass through, the mirror, and the range itself. */
const COPIES_IN_RAM = 3;
const SPARE = 4 * MIB;
/** Bytes that are stored by one call. */
const STEP = 16 * MIB;

/** RAM and device memory for the largest size. */
function machine(variant: VariantName): MachineOptions {
  const largest = SIZES[SIZES.length - 1]! * PMD_SIZE;
  const ramBytes = COPIES_IN_RAM * largest + 32 * MIB;
  const device = largest + 32 * MIB;
  return variant === 'coherent'
    ? { ramBytes, devices: 1, coherentDevices: 1, coherentBytes: device }
    : { ramBytes, devices: 1, coherentDevices: 0, deviceBytes: device };
}

/** Milliseconds of one direction each. */
interface Times {
  readonly toDevice: number;
  readonly toSystem: number;
}

async function benchmarkThpMigration(test: HmmTest): Promise<void> {
  for (const size of SIZES) {
    const bytes = size * PMD_SIZE;
    if (!(await fits(test, bytes))) {
      test.log.push(`${label(bytes)}: left out, this machine is too small`);
      continue;
    }
    for (const advice of [MADV_HUGEPAGE, MADV_NOHUGEPAGE]) {
      const { toDevice, toSystem } = await measure(test, bytes, advice);
      const name = advice === MADV_HUGEPAGE ? 'HUGEPAGE  ' : 'NOHUGEPAGE';
      const there = rate(bytes, toDevice);
      test.log.push(`${label(bytes)} ${name} to device ${there}, back ${rate(bytes, toSystem)}`);
    }
  }
}

async function fits(test: HmmTest, bytes: number): Promise<boolean> {
  const { ramFreePages } = await test.machine.counters();
  const { deviceBytes, coherentBytes } = test.machine.report;
  const room = test.isCoherent ? coherentBytes : deviceBytes;
  // One chunk of single pages is always there.
  const fitsDevice = bytes + 16 * MIB <= room;
  return fitsDevice && COPIES_IN_RAM * bytes + SPARE <= ramFreePages * PAGE_SIZE;
}

/** One round to warm up, then the mean of the others: five, unless the run is to be short. */
async function measure(test: HmmTest, bytes: number, advice: number): Promise<Times> {
  const buffer = await test.buffer(bytes / PAGE_SIZE);
  const { npages } = buffer;
  await test.process.madvise(buffer.ptr, bytes, advice);
  for (let at = 0; at < bytes; at += STEP) {
    const length = Math.min(STEP, bytes - at);
    await test.store(buffer.ptr + at, length / PAGE_SIZE, (k) => k & 0xff);
  }
  const { rounds } = test;
  let toDevice = 0;
  let toSystem = 0;
  for (let i = 0; i <= rounds; i++) {
    const start = performance.now();
    test.assertErrno(
      0,
      await test.cmd(test.fd, 'MIGRATE_TO_DEV', buffer, npages),
      'MIGRATE_TO_DEV',
    );
    const middle = performance.now();
    test.assertErrno(
      0,
      await test.cmd(test.fd, 'MIGRATE_TO_SYS', buffer, npages),
      'MIGRATE_TO_SYS',
    );
    const end = performance.now();
    if (i === 0) continue;
    toDevice += (middle - start) / rounds;
    toSystem += (end - middle) / rounds;
  }
  // Large and single pages have chunks of their own; there may not be room for both.
  if (!test.isCoherent) {
    test.assertErrno(0, await test.cmd(test.fd, 'RELEASE', buffer, npages), 'RELEASE');
  }
  await test.free(buffer);
  return { toDevice, toSystem };
}

function label(bytes: number): string {
  const size = bytes >= MIB ? `${bytes / MIB} MiB` : `${bytes / 1024} KiB`;
  return size.padStart(8);
}

function rate(bytes: number, ms: number): string {
  const perSecond = (bytes / 2 ** 30 / ms) * 1000;
  return `${ms.toFixed(3)} ms (${perSecond.toFixed(2)} GB/s)`;
}

export const BENCHMARK_TESTS: readonly Selftest[] = [
  {
    fixture: 'hmm',
    name: 'benchmark_thp_migration',
    features: [121],
    machine,
    run: benchmarkThpMigration,
  },
];
