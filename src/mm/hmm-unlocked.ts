/**
 * hmm_range_fault for callers without the mmap lock (mm/hmm.c: hmm_range_fault_unlocked_timeout).
 * It begins the read of the notifier, takes the lock, and goes on for as long as the range keeps
 * changing. Faults may drop the lock, so this form serves memory whose pages come from a
 * userfaultfd, which the plain one can't.
 *
 * Time comes from the caller: mm knows no clock.
 *
 * Locking: takes and drops the mmap lock for read; what else waits see hmm.ts.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { hmmRangeFaultUnlockable } from './hmm.ts';
import type { HmmRange } from './hmm.ts';
import type { MmStruct } from './mm-types.ts';
import { mmuIntervalReadBegin } from './mmu-notifier.ts';

/** How long to try, and for whom. */
export interface UnlockedOptions {
  /** Milliseconds without progress; 0 = for ever. */
  readonly timeoutMs: number;
  /** Milliseconds of a monotonic clock. */
  readonly nowMs: () => number;
  /** Whether the caller is being killed (fatal_signal_pending). */
  readonly isKilled: () => boolean;
}

/**
 * Reports, and where asked for faults in, every page of a range
 * (hmm_range_fault_unlocked_timeout). Sets `notifierSeq`: the caller still has to check it under
 * its own lock.
 *
 * The time starts anew whenever a fault dropped the mmap lock, since that is progress.
 *
 * @returns 0; EINTR when the caller is killed; EFAULT also when the OOM reaper was in the address
 * space; EBUSY when the time is over; else as hmmRangeFault. Entries hold outputs only on success:
 * after an error they are requests again, as far as the range was walked anew.
 * Context: mmap lock not held, and not held afterwards; waits for it, for the notifier, for faults
 * and their monitors.
 */
export async function hmmRangeFaultUnlockedTimeout(
  range: HmmRange,
  options: UnlockedOptions,
): Promise<number> {
  const { mm } = range.notifier;
  assert(mm !== null, 'I23: a subscription that is read was inserted');
  // Outputs of an attempt that came to nothing must not be read as requests.
  const requests = range.pfnFlagsMask === 0 ? null : range.hmmPfns.slice();
  let start = options.nowMs();
  for (;;) {
    range.notifierSeq = await mmuIntervalReadBegin(range.notifier);
    if (options.isKilled()) return errno.EINTR;
    await mm.mmapLock.readLock();
    const refused = refusal(mm, options, start);
    if (refused !== 0) {
      mm.mmapLock.readUnlock();
      return refused;
    }
    const lock = { isHeld: true };
    const status = await hmmRangeFaultUnlockable(range, lock);
    if (lock.isHeld) mm.mmapLock.readUnlock();
    else start = options.nowMs();
    if (lock.isHeld && status !== errno.EBUSY) return status;
    if (requests !== null) range.hmmPfns.set(requests);
  }
}

/** Why another attempt makes no sense, 0 when it does. */
function refusal(mm: MmStruct, options: UnlockedOptions, start: number): number {
  if (options.isKilled()) return errno.EINTR;
  if (mm.isUnstable) return errno.EFAULT;
  const { timeoutMs, nowMs } = options;
  return timeoutMs > 0 && nowMs() - start > timeoutMs ? errno.EBUSY : 0;
}
