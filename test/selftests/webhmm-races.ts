/*
 * Our tests of what happens at the same time: migration, faults and the CPU's own accesses and
 * system calls, all in flight together. No call waits for another here except in the kernel, and
 * whatever order they get, no store is lost, no page is left behind, nothing hangs.
 *
 * Which calls start when is drawn from a seed that the log of a failure names.
 */
import { errno, PAGE_SIZE, Prng } from '../../src/index.ts';
import { index, negative } from './hmm-test.ts';
import type { HmmBuffer, HmmTest, VmCounts } from './hmm-test.ts';
import { pause, SEED } from './pause.ts';
import type { Selftest } from './selftest.ts';

/** The kinds of device memory that races are run on. */
const BOTH = ['private', 'coherent'] as const;
const ROUNDS = 20;
const PAGES = 256;
/** HMM_RANGE_DEFAULT_TIMEOUT, milliseconds. */
const DEVICE_FAULT_MS = 1000;
/** Ends the test unless `status` is one of these. */
function assertOneOf(test: HmmTest, allowed: readonly number[], status: number, what: string) {
  if (!allowed.includes(status)) test.assertErrno(allowed[0]!, status, `${what}, seed ${SEED}`);
}

/** A device fault that is disturbed for a second is EBUSY, as on machines that are slow enough. */
function lateAnswers(begun: number): readonly number[] {
  return performance.now() - begun < DEVICE_FAULT_MS ? [] : [errno.EBUSY];
}

/** Moves the range to and fro, and reads it on the device, in a random order. */
async function moveAbout(test: HmmTest, buffer: HmmBuffer, prng: Prng): Promise<void> {
  const moves = prng.shuffle(Uint8Array.of(0, 1, 2, 3));
  const running = [...moves].map(async (move) => {
    await pause(prng);
    const device = move % 2 === 0 ? test.fd : test.fd1;
    const command = move < 2 ? 'MIGRATE_TO_DEV' : move === 2 ? 'MIGRATE_TO_SYS' : 'READ';
    const begun = performance.now();
    const status = await test.cmd(device, command, buffer, buffer.npages);
    // A page that the CPU or the other device has taken meanwhile is not there to be read.
    const allowed = [0, errno.ENOENT, ...lateAnswers(begun)];
    assertOneOf(test, allowed, status, `${command} in a race`);
  });
  await Promise.all(running);
}

/** Ends the test unless somebody had to wait for a page under way, where copies take time. */
async function assertRaced(test: HmmTest, before: VmCounts): Promise<void> {
  const name = 'migration_entry_wait';
  const waits = ((await test.counts())[name] ?? 0) - (before[name] ?? 0);
  // Copies within the shared memory take no time in which anybody could come.
  const takesTime = test.machine.report.engine === 'webgpu' && !test.isCoherent;
  if (takesTime) test.assertEq(true, waits > 0, `${name} > 0`);
}

/** The CPU stores while pages move between RAM and two devices. */
async function storesSurviveMigration(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  const buffer = await test.buffer(PAGES);
  await test.fill(buffer, index);
  const before = await test.counts();
  for (let round = 1; round <= ROUNDS; round++) {
    const moving = moveAbout(test, buffer, prng);
    await pause(prng);
    await test.store(buffer.ptr, PAGES, (i) => i + round);
    await moving;
    await test.assertPtr(buffer, (i) => i + round);
  }
  await assertRaced(test, before);
}

/** The CPU reads a range again and again while it moves: it always finds what it stored. */
async function loadsSeeWholePages(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  const buffer = await test.buffer(PAGES);
  await test.fill(buffer, negative);
  const before = await test.counts();
  for (let round = 0; round < ROUNDS; round++) {
    const moving = moveAbout(test, buffer, prng);
    await pause(prng);
    await test.assertPtr(buffer, negative);
    await moving;
  }
  await assertRaced(test, before);
}

/** The range goes away under a migration or a device read. */
async function unmapDuringMigration(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const buffer = await test.buffer(PAGES);
    await test.fill(buffer, index);
    if (prng.chance(0.5)) await test.cmdOk(test.fd1, 'MIGRATE_TO_DEV', buffer, PAGES / 2);
    const command = prng.chance(0.5) ? 'MIGRATE_TO_DEV' : 'READ';
    const begun = performance.now();
    const running = test.cmd(test.fd, command, buffer, PAGES);
    await pause(prng);
    await test.process.munmap(buffer.ptr, (PAGES / 2) * PAGE_SIZE);
    const status = await running;
    const allowed = [0, errno.ENOENT, errno.EINVAL, errno.EFAULT, ...lateAnswers(begun)];
    assertOneOf(test, allowed, status, `${command} of memory that goes away`);
    await test.assertMemory(
      buffer.ptr + (PAGES / 2) * PAGE_SIZE,
      PAGES / 2,
      (i) => i + (PAGES / 2) * 1024,
      'the half that stays',
    );
    await test.free(buffer);
  }
}

/** A process ends while its pages migrate. */
async function exitDuringMigration(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const process = await test.spawn();
    const device = await test.open(process, test.minor);
    const buffer = await test.buffer(PAGES, {}, process);
    await test.store(buffer.ptr, PAGES, index, 0, process);
    const running = test.cmd(device, 'MIGRATE_TO_DEV', buffer, PAGES);
    await pause(prng);
    await test.exit(process, [device]);
    const allowed = [0, errno.ENOENT, errno.EINVAL, errno.EFAULT];
    assertOneOf(test, allowed, await running, 'MIGRATE_TO_DEV of a process that ends');
  }
}

/** RELEASE empties the device while the CPU faults on it and new pages come in. */
async function releaseDuringFaults(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  const buffer = await test.buffer(PAGES);
  await test.fill(buffer, index);
  for (let round = 0; round < ROUNDS; round++) {
    await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, PAGES);
    const reading = test.assertPtr(buffer, index);
    await pause(prng);
    const releasing = test.cmd(test.fd, 'RELEASE', buffer, 1);
    await pause(prng);
    const returning = test.cmd(test.fd, 'MIGRATE_TO_DEV', buffer, PAGES / 2);
    test.assertErrno(0, await releasing, `RELEASE in a race, seed ${SEED}`);
    const status = await returning;
    assertOneOf(test, [0, errno.ENOENT], status, 'MIGRATE_TO_DEV in a race');
    await reading;
  }
  await test.assertPtr(buffer, index);
}

export const RACE_TESTS: readonly Selftest[] = [
  {
    fixture: 'webhmm',
    name: 'stores_survive_migration',
    variants: BOTH,
    features: [69],
    run: storesSurviveMigration,
  },
  {
    fixture: 'webhmm',
    name: 'loads_see_whole_pages',
    variants: BOTH,
    features: [69],
    run: loadsSeeWholePages,
  },
  {
    fixture: 'webhmm',
    name: 'unmap_during_migration',
    variants: BOTH,
    features: [95],
    run: unmapDuringMigration,
  },
  { fixture: 'webhmm', name: 'exit_during_migration', variants: BOTH, run: exitDuringMigration },
  { fixture: 'webhmm', name: 'release_during_faults', variants: BOTH, run: releaseDuringFaults },
];
