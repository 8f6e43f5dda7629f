/*
 * Kernel tests of device pages whose mapping is cut or moved (hmm-tests.c:
 * migrate_partial_unmap_fault, migrate_remap_fault). Each runs with and without advice for large
 * folios.
 */
import {
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PAGE_SIZE,
  PMD_SIZE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { PAGE_WORDS, index } from './hmm-test.ts';
import type { HmmBuffer, HmmTest } from './hmm-test.ts';
import type { Selftest } from './selftest.ts';

const PMD_PAGES = PMD_SIZE / PAGE_SIZE;
/** Where in its PMD range a hole begins, or a mapping comes to lie. */
const OFFSETS = [0, PMD_SIZE / 4, PMD_SIZE / 2] as const;
/** No test writes this. */
const UNTOUCHED = -1;

/** A PMD range inside of `pmds` mapped ones, and what is mapped. */
interface Window {
  readonly buffer: HmmBuffer;
  readonly mapped: number;
  readonly length: number;
}

/** Maps `pmds` PMD sizes, and gives the first whole PMD range in it advice. */
async function mapWindow(test: HmmTest, pmds: number, useThp: boolean): Promise<Window> {
  const length = pmds * PMD_SIZE;
  const prot = PROT_READ | PROT_WRITE;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const mapped = await test.process.mmap({ length, prot, flags });
  const ptr = Math.ceil(mapped / PMD_SIZE) * PMD_SIZE;
  await test.process.madvise(ptr, PMD_SIZE, useThp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  const mirror = await test.process.mmap({ length: PMD_SIZE, prot, flags });
  const buffer: HmmBuffer = { ptr, mirror, npages: PMD_PAGES, cpages: 0, faults: 0 };
  await test.fillMirror(buffer, () => UNTOUCHED);
  return { buffer, mapped, length };
}

/** Unmaps all of it; what is not mapped any more is fine. */
async function freeWindow(test: HmmTest, { buffer, mapped, length }: Window): Promise<void> {
  await test.process.munmap(mapped, length);
  await test.process.munmap(buffer.mirror, PMD_SIZE);
}

/** All of the range goes to the device, and can be read there. */
async function migrateWindow(test: HmmTest, buffer: HmmBuffer): Promise<void> {
  await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, buffer.npages);
  await test.assertMirror(buffer, index);
  await test.assertWhere(buffer, '0'.repeat(buffer.npages));
}

/** Half of a range on the device is unmapped; the CPU gets the rest back, word for word. */
async function migratePartialUnmapFault(test: HmmTest): Promise<void> {
  for (const useThp of [false, true]) {
    for (const offset of OFFSETS) {
      const window = await mapWindow(test, 2, useThp);
      const { buffer } = window;
      await test.fill(buffer, index);
      await migrateWindow(test, buffer);
      await test.process.munmap(buffer.ptr + offset, PMD_SIZE / 2);
      const before = offset / PAGE_SIZE;
      const after = before + PMD_PAGES / 2;
      const rest = PMD_PAGES - after;
      const where = '0'.repeat(before) + '-'.repeat(PMD_PAGES / 2) + '0'.repeat(rest);
      await test.assertWhere(buffer, where);
      await test.assertMemory(buffer.ptr, before, index, 'below the hole');
      const above = (i: number): number => index(after * PAGE_WORDS + i);
      await test.assertMemory(buffer.ptr + after * PAGE_SIZE, rest, above, 'above the hole');
      await test.assertWhere(buffer, test.touched(where));
      await freeWindow(test, window);
    }
  }
}

/** A round of migrateRemapFault. */
interface Round {
  /** The range moves before it goes to the device, or after. */
  readonly movesBefore: boolean;
  readonly dontUnmap: boolean;
  readonly useThp: boolean;
  readonly offset: number;
}

function remapRounds(): Round[] {
  const flags = [false, true];
  return flags.flatMap((movesBefore) =>
    flags.flatMap((dontUnmap) =>
      flags.flatMap((useThp) =>
        OFFSETS.map((offset) => ({ movesBefore, dontUnmap, useThp, offset })),
      ),
    ),
  );
}

/** Moves the range behind the hole that follows it; its pages stay where they are. */
async function moveWindow(test: HmmTest, buffer: HmmBuffer, round: Round): Promise<void> {
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED | (round.dontUnmap ? MREMAP_DONTUNMAP : 0);
  const old = buffer.ptr;
  const target = old + PMD_SIZE + round.offset;
  buffer.ptr = await test.process.mremap(old, PMD_SIZE, PMD_SIZE, flags, target);
  test.assertEq(target, buffer.ptr, 'the new address');
  await test.assertWhere({ ...buffer, ptr: old }, '-'.repeat(PMD_PAGES));
}

/** A range moves in the address space, before or while it is on the device. */
async function migrateRemapFault(test: HmmTest): Promise<void> {
  for (const round of remapRounds()) {
    const window = await mapWindow(test, 8, round.useThp);
    const { buffer } = window;
    await test.process.munmap(buffer.ptr + PMD_SIZE, 2 * PMD_SIZE);
    await test.fill(buffer, index);
    if (round.movesBefore) await moveWindow(test, buffer, round);
    await migrateWindow(test, buffer);
    const migrated = await test.counts();
    if (!round.movesBefore) {
      await moveWindow(test, buffer, round);
      await test.assertWhere(buffer, '0'.repeat(PMD_PAGES));
      await test.assertCounted(migrated, { device_private_fault: 0 }, 'of the move');
    }
    await test.assertPtr(buffer, index);
    await test.assertWhere(buffer, test.touched('0'.repeat(PMD_PAGES)));
    await test.process.munmap(buffer.ptr, PMD_SIZE);
    await freeWindow(test, window);
  }
}

/** In the kernel's order. */
export const REMAP_TESTS: readonly Selftest[] = [
  {
    fixture: 'hmm',
    name: 'migrate_partial_unmap_fault',
    features: [62, 103],
    run: migratePartialUnmapFault,
  },
  {
    fixture: 'hmm',
    name: 'migrate_remap_fault',
    features: [62, 106],
    run: migrateRemapFault,
  },
];
