/**
 * Memory of a process as a debugger sees it: ptrace and /proc/pid/mem (mm/memory.c:
 * access_remote_vm). Every page is faulted in on behalf of the process, so device pages come home.
 *
 * Locking: mmap lock held for read over the whole access.
 *
 * Leaves out: FOLL_FORCE, so a debugger can't write to memory that the process can't write to.
 */
import { andThen, isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE, pageAlignDown } from '../base/units.ts';
import { FOLL_REMOTE, FOLL_WRITE, pinUserPages, unpinUserPagesDirtyLock } from './gup.ts';
import type { MmStruct } from './mm-types.ts';

/**
 * Copies between `bytes` and the memory of a process (access_remote_vm).
 *
 * @param gupFlags FOLL_WRITE: from `bytes` to memory; 0: the other way. @returns bytes copied: 0
 * or fewer than asked for where the process has no page with that permission, or no memory was
 * free. Context: mmap lock not held; waits for it and for faults.
 */
export function accessRemoteVm(
  mm: MmStruct,
  addr: number,
  bytes: Uint8Array,
  gupFlags: number,
): MaybePromise<number> {
  return andThen(mm.mmapLock.readLock(), () =>
    andThen(accessFrom(mm, addr, bytes, gupFlags, 0), (done) => {
      mm.mmapLock.readUnlock();
      return done;
    }),
  );
}

function accessFrom(
  mm: MmStruct,
  addr: number,
  bytes: Uint8Array,
  gupFlags: number,
  from: number,
): MaybePromise<number> {
  const pfns = new Uint32Array(1);
  for (let done = from; done < bytes.length;) {
    const at = done;
    // Pinned where Linux only takes a reference: a page that is merely referenced may be lent.
    const taken = pinUserPages(mm, addr + at, 1, gupFlags | FOLL_REMOTE, pfns);
    if (isPending(taken)) {
      return taken.then((settled) => {
        if (settled !== 1) return at;
        const next = copyPinnedPage(mm, pfns, addr, bytes, at, gupFlags);
        return accessFrom(mm, addr, bytes, gupFlags, next);
      });
    }
    if (taken !== 1) return at;
    done = copyPinnedPage(mm, pfns, addr, bytes, at, gupFlags);
  }
  return bytes.length;
}

/** Copies within the pinned page, gives it back; how much of `bytes` is done then. */
function copyPinnedPage(
  mm: MmStruct,
  pfns: Uint32Array,
  addr: number,
  bytes: Uint8Array,
  done: number,
  gupFlags: number,
): number {
  const { sys } = mm;
  const offset = addr + done - pageAlignDown(addr + done);
  const count = Math.min(PAGE_SIZE - offset, bytes.length - done);
  const start = pfns[0]! * PAGE_SIZE + offset;
  const isWrite = (gupFlags & FOLL_WRITE) !== 0;
  if (isWrite) sys.ram.set(bytes.subarray(done, done + count), start);
  else bytes.set(sys.ram.subarray(start, start + count), done);
  unpinUserPagesDirtyLock(sys, pfns, isWrite);
  return done + count;
}
