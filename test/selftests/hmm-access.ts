/*
 * Kernel tests of device access to system memory (hmm-tests.c: open_close to anon_write_prot,
 * anon_read_multiple, and anon_teardown, which runs where a filter asks for it): the device faults
 * pages in through its own page table and never gets more than the process itself may do.
 */
import { errno, PAGE_SIZE, PROT_NONE, PROT_READ, PROT_WRITE, Prng } from '../../src/index.ts';
import { BUFFER_PAGES, index, negative, NTIMES, PAGE_WORDS, zero } from './hmm-test.ts';
import type { HmmTest } from './hmm-test.ts';
import { pause, SEED } from './pause.ts';
import type { Selftest } from './selftest.ts';

const READ_WRITE = PROT_READ | PROT_WRITE;

/** The device opens and closes; the fixture has done so once, this is the second time. */
async function openClose(test: HmmTest): Promise<void> {
  const device = await test.open(test.process, 0);
  await test.close(device);
}

/** A device read sees stored data, the zero page, and a page that nobody has touched. */
async function anonRead(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  const { ptr, npages } = buffer;
  // Pages 0 and 1 stay untouched until the range can only be read.
  await test.store(ptr + 2 * PAGE_WORDS * 4, npages - 2, index, 2);
  await test.protect(buffer, PROT_READ);
  test.assertEq(0, await test.loadWord(buffer, 1), 'first word of page 1');
  await test.assertWhere(buffer, '-zrr');
  await test.cmdOk(test.fd, 'READ', buffer, npages, { faults: 1 });
  await test.assertMirror(buffer, (i) => (i < 2 * PAGE_WORDS ? 0 : i));
}

/** A device read of an unreadable range fails and changes nothing on either side. */
async function anonReadProt(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fill(buffer, index);
  await test.fillMirror(buffer, negative);
  await test.protect(buffer, PROT_NONE);
  await test.cmdFails(test.fd, 'READ', buffer, buffer.npages, errno.EFAULT);
  await test.protect(buffer, PROT_READ);
  await test.assertPtr(buffer, index);
  await test.assertMirror(buffer, negative);
}

/** A device write to an untouched range makes pages. */
async function anonWrite(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES);
  await test.fillMirror(buffer, index);
  await test.cmdOk(test.fd, 'WRITE', buffer, buffer.npages, { faults: 1 });
  await test.assertPtr(buffer, index);
}

/** A device write to a range that may only be read is refused, and works once it is allowed. */
async function anonWriteProt(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(BUFFER_PAGES, { prot: PROT_READ });
  const { npages } = buffer;
  await test.cmdOk(test.fd, 'READ', buffer, 1, { faults: 1 });
  await test.fillMirror(buffer, index);
  await test.cmdFails(test.fd, 'WRITE', buffer, npages, errno.EPERM);
  await test.assertPtr(buffer, zero);
  // The zero page, which the reads have put there, must give way to pages of its own.
  await test.protect(buffer, READ_WRITE);
  await test.cmdOk(test.fd, 'WRITE', buffer, npages, { faults: 1 });
  await test.assertPtr(buffer, index);
}

/** Ten ranges one after the other, each with content of its own. */
async function anonReadMultiple(test: HmmTest): Promise<void> {
  for (let c = 0; c < NTIMES; c++) {
    const buffer = await test.buffer(BUFFER_PAGES);
    await test.fill(buffer, (i) => i + c);
    await test.cmdOk(test.fd, 'READ', buffer, buffer.npages, { faults: 1 });
    await test.assertMirror(buffer, (i) => i + c);
    await test.free(buffer);
  }
}

/** Half of a range goes away while the device reads it: an error, or all of it was read. */
async function anonTeardown(test: HmmTest): Promise<void> {
  const prng = new Prng(SEED);
  for (let c = 0; c < NTIMES; c++) {
    const buffer = await test.buffer(BUFFER_PAGES);
    const { ptr, npages } = buffer;
    await test.fill(buffer, (i) => i + c);
    const half = (npages / 2) * PAGE_SIZE;
    const unmapping = pause(prng).then(() => test.process.munmap(ptr + half, half));
    const status = await test.cmd(test.fd, 'READ', buffer, npages);
    if (status === 0) {
      test.assertEq(npages, buffer.cpages, `cpages, seed ${SEED}`);
      test.assertEq(1, buffer.faults, `faults, seed ${SEED}`);
      await test.assertMirror(buffer, (i) => i + c);
    }
    await unmapping;
    await test.free(buffer);
  }
}

/** Those before the migration tests, in the kernel's order. */
export const ACCESS_TESTS: readonly Selftest[] = [
  { fixture: 'hmm', name: 'open_close', run: openClose },
  { fixture: 'hmm', name: 'anon_read', features: [71, 81, 116], run: anonRead },
  { fixture: 'hmm', name: 'anon_read_prot', features: [72], run: anonReadProt },
  { fixture: 'hmm', name: 'anon_write', features: [72, 116], run: anonWrite },
  { fixture: 'hmm', name: 'anon_write_prot', features: [72, 81], run: anonWriteProt },
];

/** Those behind the migration tests. */
export const LATER_ACCESS_TESTS: readonly Selftest[] = [
  { fixture: 'hmm', name: 'anon_read_multiple', run: anonReadMultiple },
  { fixture: 'hmm', name: 'anon_teardown', features: [95], run: anonTeardown },
];
