/*
 * Kernel tests of device-exclusive access (hmm-tests.c: exclusive, exclusive_mprotect,
 * exclusive_cow).
 *
 * EXCLUSIVE copies what the device reads to the mirror; it moves no page, so besides the data each
 * test looks at where the pages are and at how often exclusive access was given and taken back.
 */
import { errno, PROT_READ } from '../../src/index.ts';
import type { Process } from '../../src/index.ts';
import { BUFFER_PAGES, index } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Pattern } from './checks.ts';
import type { Selftest } from './selftest.ts';

/** Word i holds i + 1. */
const next: Pattern = (i) => i + 1;

/** A buffer that the device has for itself; its words hold their numbers. */
async function exclusiveBuffer(test: HmmTest): Promise<HmmBuffer> {
  const buffer = await test.buffer(BUFFER_PAGES);
  const { npages } = buffer;
  await test.fill(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'EXCLUSIVE', buffer, npages);
  const counts = { device_exclusive_make: npages, pgmigrate_to_device: 0 };
  await test.assertCounted(before, counts, 'of EXCLUSIVE');
  await test.assertMirror(buffer, index);
  await test.assertWhere(buffer, 'x'.repeat(npages));
  return buffer;
}

/** A program finds each word as it should be, and adds one to it. */
async function increment(test: HmmTest, buffer: HmmBuffer, process: Process): Promise<void> {
  const { ptr, npages } = buffer;
  await test.assertMemory(ptr, npages, index, 'ptr', process);
  await test.store(ptr, npages, next, 0, process);
  await test.assertMemory(ptr, npages, next, 'ptr', process);
}

/** The CPU takes the pages back, by loads and stores. */
async function exclusive(test: HmmTest): Promise<void> {
  const buffer = await exclusiveBuffer(test);
  const { npages } = buffer;
  const status = await test.cmd(test.fd, 'CHECK_EXCLUSIVE', buffer, npages);
  test.assertErrno(errno.EPERM, status, 'CHECK_EXCLUSIVE before the CPU comes');
  const before = await test.counts();
  await increment(test, buffer, test.process);
  await test.assertCounted(before, { device_exclusive_revoke: npages }, 'of the accesses');
  await test.cmdOk(test.fd, 'CHECK_EXCLUSIVE', buffer, npages, { cpages: 0 });
  await test.assertWhere(buffer, 'r'.repeat(npages));
}

/** What was made read-only meanwhile, the device may not write. */
async function exclusiveMprotect(test: HmmTest): Promise<void> {
  const buffer = await exclusiveBuffer(test);
  await test.protect(buffer, PROT_READ);
  await test.cmdFails(test.fd, 'WRITE', buffer, buffer.npages, errno.EPERM);
  await test.assertPtr(buffer, index);
}

/** Fork takes the pages back and shares them; each side then has its own. */
async function exclusiveCow(test: HmmTest): Promise<void> {
  const buffer = await exclusiveBuffer(test);
  const { npages } = buffer;
  const before = await test.counts();
  const child = await test.fork(test.process);
  await test.assertCounted(before, { device_exclusive_revoke: npages, cow_copy: 0 }, 'of fork');
  await increment(test, buffer, child);
  await increment(test, buffer, test.process);
  // The one that comes first copies, the other one has what is left to itself.
  await test.assertCounted(before, { cow_copy: npages }, 'of both');
  await test.exit(child);
}

/** In the kernel's order. */
export const EXCLUSIVE_TESTS: readonly Selftest[] = [
  { fixture: 'hmm', name: 'exclusive', features: [96, 98, 116], run: exclusive },
  {
    fixture: 'hmm',
    name: 'exclusive_mprotect',
    features: [99],
    run: exclusiveMprotect,
  },
  { fixture: 'hmm', name: 'exclusive_cow', features: [100], run: exclusiveCow },
];
