/* Files and mappings of them, for tests of the page cache. */
import { expect } from 'vitest';
import { isErr } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { filemapRead, genericFileWrite } from '../../../src/mm/filemap.ts';
import { MAP_SHARED } from '../../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../../src/mm/mm-types.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import { shmemCreate } from '../../../src/mm/shmem.ts';
import type { ShmemInode } from '../../../src/mm/shmem.ts';
import { RW, expectSync } from './fixture.ts';

export function makeFile(sys: System, length: number): ShmemInode {
  const inode = shmemCreate(sys, length);
  if (typeof inode === 'number') throw new Error(`shmemCreate ${inode}`);
  return inode;
}

/** A file of whole pages, each filled with its number plus one. */
export async function makeFilledFile(sys: System, pages: number): Promise<ShmemInode> {
  const inode = makeFile(sys, 0);
  for (let i = 0; i < pages; i++) {
    const bytes = new Uint8Array(PAGE_SIZE).fill(i + 1);
    expect(await genericFileWrite(inode, i * PAGE_SIZE, bytes)).toBe(PAGE_SIZE);
  }
  return inode;
}

/** Maps pages of a file; the address. */
export function mapFile(
  mm: MmStruct,
  inode: ShmemInode,
  pages: number,
  flags = MAP_SHARED,
  pgoff = 0,
  prot = RW,
): number {
  const request = { length: pages * PAGE_SIZE, prot, flags, inode, pgoff };
  const address = expectSync(doMmap(mm, request));
  expect(isErr(address)).toBe(false);
  return address;
}

/** What a read of the file gives. */
export function readFile(inode: ShmemInode, offset: number, length: number): number[] {
  const bytes = new Uint8Array(length).fill(0xee);
  const count = filemapRead(inode, offset, bytes);
  expect(count).toBeGreaterThanOrEqual(0);
  return Array.from(bytes.subarray(0, count));
}
