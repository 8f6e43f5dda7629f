/**
 * EXCLUSIVE and CHECK_EXCLUSIVE of the test device (dmirror_exclusive, dmirror_check_exclusive,
 * lib/test_hmm.c): pages that stay in RAM while the device alone may touch them. Our ADD works on
 * them without lending; READ reads them; WRITE faults, which takes the exclusive access back.
 *
 * Locking: mmap lock held for read over the range. Between makeDeviceExclusive and its use a wait
 * may lie, in which MADV_DONTNEED can take the page away: so the mirror counts its invalidations,
 * and the count must be the one that the EXCLUSIVE event itself has left. (The sequence number will
 * not do: while somebody else's invalidation lasts it stays the same.)
 */
import { errno, isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { makeDeviceExclusive } from '../mm/device-exclusive.ts';
import { putPage } from '../mm/page-alloc.ts';
import { DPT_ATOMIC } from './device-page-table.ts';
import { dmirrorReadMapped } from './dmirror-access.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';

/** The owner of EXCLUSIVE events of one command, by which the mirror knows them as its own. */
export class ExclusiveClaim {
  readonly mirror: Dmirror;
  /** The mirror's count of invalidations when the last of these events was over. */
  invalidations = 0;

  constructor(mirror: Dmirror) {
    this.mirror = mirror;
  }
}

/**
 * Gives the device exclusive access to every page of the range, then reads the range through the
 * device page table into the user buffer (not when `ptr` is 0). May wait.
 *
 * @returns 0 with `cpages`; EFAULT, ENOMEM, EOPNOTSUPP of makeDeviceExclusive, what lies below has
 * changed then; ENOENT when a page was taken back meanwhile; EINVAL when the address space is gone;
 * ENODEV or EIO when the copy engine failed.
 */
export async function dmirrorExclusive(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  const { mm } = mirror;
  if (mm.users === 0) return errno.EINVAL;
  const claim = new ExclusiveClaim(mirror);
  await mm.mmapLock.readLock();
  try {
    for (let i = 0; i < cmd.npages; i++) {
      const status = await claimPage(claim, cmd.addr + i * PAGE_SIZE);
      if (isErr(status)) return status;
    }
  } finally {
    mm.mmapLock.readUnlock();
  }
  return dmirrorReadMapped(mirror, cmd);
}

/** Enters one page as the device's own (dmirror_atomic_map). 0 or an errno. */
async function claimPage(claim: ExclusiveClaim, addr: number): Promise<number> {
  const { mirror } = claim;
  const { sys } = mirror.mm;
  for (;;) {
    const made = makeDeviceExclusive(mirror.mm, addr, claim);
    const pfn = isPending(made) ? await made : made;
    if (isErr(pfn)) return pfn;
    const isCurrent = mirror.invalidations === claim.invalidations;
    if (isCurrent) mirror.pageTable.storeAtomic(addr / PAGE_SIZE, pfn);
    const folio = sys.mem.folioOf(pfn);
    sys.mem.unlockPage(folio);
    putPage(sys, folio);
    if (isCurrent) return 0;
  }
}

/** EPERM while the device has exclusive access to any page of the range, else 0. Never waits. */
export function dmirrorCheckExclusive(mirror: Dmirror, cmd: DmirrorCmd): number {
  const end = cmd.addr + cmd.npages * PAGE_SIZE;
  return mirror.pageTable.hasAny(cmd.addr, end, DPT_ATOMIC) ? errno.EPERM : 0;
}
