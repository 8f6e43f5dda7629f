/*
 * Kernel tests of memory that a file is behind (hmm-tests.c: file_read, file_write,
 * migrate_file_private and mixedmap). The device reads and writes the page cache itself; only pages
 * of which the process has made copies of its own can migrate.
 */
import {
  errno,
  HMM_DMIRROR_PROT_READ,
  MAP_PRIVATE,
  MAP_SHARED,
  PAGE_SIZE,
  PROT_READ,
} from '../../src/index.ts';
import { BUFFER_PAGES, index, PAGE_WORDS } from './hmm-test.ts';
import type { HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

/** Words of the usual buffer that hold their index. */
function indexBytes(): Uint8Array {
  const words = new Int32Array(BUFFER_PAGES * PAGE_WORDS);
  for (let i = 0; i < words.length; i++) words[i] = index(i);
  return new Uint8Array(words.buffer);
}

/** The device reads a file through a shared mapping that may only be read. */
async function fileRead(test: HmmTest): Promise<void> {
  const file = await test.createFile(BUFFER_PAGES);
  const bytes = indexBytes();
  test.assertEq(bytes.length, await file.pwrite(bytes, 0), 'bytes of pwrite');
  const options = { flags: MAP_SHARED, fd: file.fd, prot: PROT_READ };
  const buffer = await test.buffer(BUFFER_PAGES, options);
  await test.cmdOk(test.fd, 'READ', buffer, buffer.npages, { faults: 1 });
  await test.assertMirror(buffer, index);
}

/** The device writes a file through a shared mapping: the process and pread see it. */
async function fileWrite(test: HmmTest): Promise<void> {
  const file = await test.createFile(BUFFER_PAGES);
  const buffer = await test.buffer(BUFFER_PAGES, { flags: MAP_SHARED, fd: file.fd });
  await test.fillMirror(buffer, index);
  await test.cmdOk(test.fd, 'WRITE', buffer, buffer.npages, { faults: 1 });
  await test.assertPtr(buffer, index);
  test.assertWords(await file.pread(buffer.npages * PAGE_SIZE, 0), index, 'file');
}

/** Pages of a private mapping of a file migrate once the process has stored to them. */
async function migrateFilePrivate(test: HmmTest): Promise<void> {
  const file = await test.createFile(BUFFER_PAGES);
  const buffer = await test.buffer(BUFFER_PAGES, { flags: MAP_PRIVATE, fd: file.fd });
  const { npages } = buffer;
  await test.fill(buffer, index);
  const before = await test.counts();
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, npages);
  await test.assertMirror(buffer, index);
  await test.assertWhere(buffer, '0'.repeat(npages));
  await test.assertCounted(before, { pgmigrate_to_device: npages }, 'of the migration');
  // Nothing of it shows in the file.
  test.assertEq(0, (await file.pread(1, 0))[0] ?? -1, 'first byte of the file');
  await test.free(buffer);
}

/** Between anon_write_child_shared and migrate. */
export const FILE_TESTS: readonly Selftest[] = [
  { fixture: 'hmm', name: 'file_read', features: [107], run: fileRead },
  { fixture: 'hmm', name: 'file_write', features: [107], run: fileWrite },
];

/** Behind migrate. */
export const MIGRATE_FILE_PRIVATE: Selftest = {
  fixture: 'hmm',
  name: 'migrate_file_private',
  features: [41],
  run: migrateFilePrivate,
};

/** A mapping of the device's own file is reported like any other memory: readable. */
async function mixedmap(test: HmmTest): Promise<void> {
  const buffer = await test.buffer(1, { flags: MAP_PRIVATE, fd: test.fd.fd });
  await test.cmdOk(test.fd, 'SNAPSHOT', buffer, 1);
  const seen = await test.process.read(buffer.mirror, 1);
  test.assertBytes([HMM_DMIRROR_PROT_READ], seen, 'protections');
  // It is not memory that could migrate.
  await test.cmdFails(test.fd, 'MIGRATE_TO_DEV', buffer, 1, errno.EINVAL);
}

/** Before those with two devices. */
export const MIXEDMAP: Selftest = {
  fixture: 'hmm',
  name: 'mixedmap',
  features: [22, 80],
  run: mixedmap,
};
