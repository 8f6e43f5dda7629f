/*
 * The kernel's test of device faults whose handler drops the mmap lock (hmm-tests.c:
 * userfaultfd_read).
 */
import { PAGE_SIZE } from '../../src/index.ts';
import type { Userfaultfd } from '../../src/index.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const PAGES = 4;
/** A word of bytes 0xab, as a signed number. */
const ANSWER = 0xabababab | 0;

/** Answers every fault with a page of 0xab until the userfaultfd is closed. @returns how many. */
async function answerFaults(uffd: Userfaultfd, source: number): Promise<number> {
  for (let answered = 0; ; answered++) {
    const message = await uffd.read().catch(() => null);
    if (message === null) return answered;
    await uffd.copy(message.address, source, PAGE_SIZE);
  }
}

/** The device reads memory that a monitor provides page by page. */
async function userfaultfdRead(test: HmmTest): Promise<void> {
  const { process } = test;
  const buffer = await test.buffer(PAGES);
  const source = await process.mmap({ length: PAGE_SIZE, prot: 3 });
  await test.store(source, 1, () => ANSWER);
  const uffd = await process.userfaultfd();
  await uffd.register(buffer.ptr, PAGES * PAGE_SIZE);
  const answering = answerFaults(uffd, source);
  await test.cmdOk(test.fd, 'READ_UNLOCKED', buffer, PAGES);
  await test.assertMirror(buffer, () => ANSWER);
  await uffd.close();
  test.assertEq(PAGES, await answering, 'faults that the monitor answered');
}

export const UFFD_TESTS: readonly Selftest[] = [
  {
    fixture: 'hmm',
    name: 'userfaultfd_read',
    features: [86, 117],
    run: userfaultfdRead,
  },
];
