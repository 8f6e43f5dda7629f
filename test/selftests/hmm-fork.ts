/*
 * Kernel tests with a child process (hmm-tests.c: anon_write_child, anon_write_child_shared,
 * hmm_cow_in_device).
 *
 * The child is a process of the same machine, so no test waits for its exit status: its checks are
 * this test's own. There are no signals between processes; ending the child does to its address
 * space what SIGKILL does.
 */
import { HMM_DMIRROR_PROT_WRITE, MAP_ANONYMOUS, MAP_SHARED } from '../../src/index.ts';
import { hugeBuffer } from './hmm-huge.ts';
import { BUFFER_PAGES, index, negative } from './hmm-test.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const COW_PAGES = 4;

/** A child writes to its copy; the parent keeps its bytes, wherever they are. */
async function anonWriteChild(test: HmmTest): Promise<void> {
  for (const migrates of [false, true]) {
    for (const useThp of [false, true]) await anonWriteChildRound(test, migrates, useThp);
  }
}

async function anonWriteChildRound(
  test: HmmTest,
  migrates: boolean,
  useThp: boolean,
): Promise<void> {
  const buffer = useThp ? await hugeBuffer(test) : await test.buffer(BUFFER_PAGES);
  const { ptr, mirror, npages } = buffer;
  await test.fill(buffer, index);
  await test.fillMirror(buffer, negative);
  if (migrates) await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
  const child = await test.fork(test.process);
  await test.assertMemory(ptr, npages, index, 'ptr of the child', child);
  // The migration has copied the range to the mirror, so there the child writes what there was.
  const written = migrates ? index : negative;
  await test.assertMemory(mirror, npages, written, 'mirror of the child', child);
  const fd = await test.open(child, 0);
  await test.cmdOk(fd, 'WRITE', buffer, npages, { faults: 1 });
  await test.assertMemory(ptr, npages, written, 'ptr of the child', child);
  await test.exit(child, [fd]);
  await test.assertPtr(buffer, index);
  await test.free(buffer);
}

/** What the device writes for the child, the parent sees, as they share the memory. */
async function anonWriteChildShared(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES, { flags: MAP_SHARED | MAP_ANONYMOUS });
  const { ptr, mirror, npages } = buffer;
  await test.fill(buffer, index);
  await test.fillMirror(buffer, negative);
  const child = await test.fork(test.process);
  await test.assertMemory(ptr, npages, index, 'ptr of the child', child);
  await test.assertMemory(mirror, npages, negative, 'mirror of the child', child);
  const fd = await test.open(child, 0);
  await test.cmdOk(fd, 'WRITE', buffer, npages, { faults: 1 });
  await test.assertMemory(ptr, npages, negative, 'ptr of the child', child);
  await test.exit(child, [fd]);
  await test.assertPtr(buffer, negative);
}

/** The parent writes to pages that it shares with its child on the device. */
async function hmmCowInDevice(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(COW_PAGES);
  await test.fill(buffer, index);
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, COW_PAGES);
  const child = await test.fork(test.process);
  await test.fill(buffer, index);
  await test.exit(child);
  await test.cmdOk(test.fd, 'SNAPSHOT', buffer, COW_PAGES);
  const bytes = await test.process.read(buffer.mirror, COW_PAGES);
  const expected = Array.from({ length: COW_PAGES }, () => HMM_DMIRROR_PROT_WRITE);
  test.assertBytes(expected, bytes, 'protections');
}

export const CHILD_TESTS: readonly Selftest[] = [
  {
    fixture: 'hmm',
    name: 'anon_write_child',
    features: [101, 102],
    run: anonWriteChild,
  },
  {
    fixture: 'hmm',
    name: 'anon_write_child_shared',
    features: [107],
    run: anonWriteChildShared,
  },
];

export const HMM_COW_IN_DEVICE: Selftest = {
  fixture: 'hmm',
  name: 'hmm_cow_in_device',
  features: [101, 102],
  run: hmmCowInDevice,
};
