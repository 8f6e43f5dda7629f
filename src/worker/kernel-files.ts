/**
 * The files of a machine: descriptors of shared memory objects, and the calls on them
 * (protocol-files.ts). A file has no name; a descriptor is one user of its object, each mapping
 * another, and each call that waits one more, so that closing never pulls it away.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, isAddress } from '../base/units.ts';
import { filemapRead, genericFileWrite } from '../mm/filemap.ts';
import type { System } from '../mm/mm-types.ts';
import { shmemCreate, shmemGet, shmemPut } from '../mm/shmem.ts';
import type { ShmemInode } from '../mm/shmem.ts';
import { shmemFallocate, shmemTruncate } from '../mm/truncate.ts';
import type { FileApi, FileReadResult, FileStat } from './protocol-files.ts';

/** Bytes of the unit in which stat counts memory. */
const STAT_BLOCK = 512;
const NO_BYTES = new Uint8Array(0);

export class KernelFiles implements FileApi {
  private readonly sys: System;
  private readonly takeFd: () => number;
  private readonly inodes = new Map<number, ShmemInode>();

  /** @param takeFd Hands out descriptor numbers, which devices share. */
  constructor(sys: System, takeFd: () => number) {
    this.sys = sys;
    this.takeFd = takeFd;
  }

  /** The object behind a descriptor. */
  inode(fd: number): ShmemInode | undefined {
    return this.inodes.get(fd);
  }

  tmpfile(length: number): number {
    const inode = shmemCreate(this.sys, length);
    if (typeof inode === 'number') return inode;
    const fd = this.takeFd();
    this.inodes.set(fd, inode);
    return fd;
  }

  pread(fd: number, length: number, offset: number): FileReadResult {
    const inode = this.inodes.get(fd);
    if (inode === undefined) return { errno: errno.EBADF, bytes: NO_BYTES };
    if (!isAddress(length) || !isAddress(offset)) return { errno: errno.EINVAL, bytes: NO_BYTES };
    const count = Math.max(0, Math.min(length, inode.size - offset));
    try {
      const bytes = new Uint8Array(count);
      filemapRead(inode, offset, bytes);
      return { errno: 0, bytes };
    } catch (error) {
      // The host has no room for that many.
      if (error instanceof RangeError) return { errno: errno.ENOMEM, bytes: NO_BYTES };
      throw error;
    }
  }

  pwrite(fd: number, bytes: Uint8Array, offset: number): Promise<number> {
    // Callers without types: something that is no bytes would be written as zeroes.
    if (!((bytes as unknown) instanceof Uint8Array)) return Promise.resolve(errno.EINVAL);
    return this.withInode(fd, (inode) => genericFileWrite(inode, offset, bytes));
  }

  ftruncate(fd: number, length: number): Promise<number> {
    return this.withInode(fd, (inode) => shmemTruncate(inode, length));
  }

  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number> {
    return this.withInode(fd, (inode) => shmemFallocate(inode, mode, offset, length));
  }

  fstat(fd: number): FileStat {
    const inode = this.inodes.get(fd);
    if (inode === undefined) return { errno: errno.EBADF, size: 0, blocks: 0 };
    const blocks = inode.nrPages * (PAGE_SIZE / STAT_BLOCK);
    return { errno: 0, size: inode.size, blocks };
  }

  closeFile(fd: number): number {
    const inode = this.inodes.get(fd);
    if (inode === undefined) return errno.EBADF;
    this.inodes.delete(fd);
    shmemPut(inode);
    return 0;
  }

  /** Closes all files. */
  closeAll(): void {
    for (const fd of this.inodes.keys()) this.closeFile(fd);
  }

  private async withInode(
    fd: number,
    work: (inode: ShmemInode) => Promise<number>,
  ): Promise<number> {
    const inode = this.inodes.get(fd);
    if (inode === undefined) return errno.EBADF;
    shmemGet(inode);
    try {
      return await work(inode);
    } finally {
      shmemPut(inode);
    }
  }
}
