/** Why a launch did not finish, and why an access ended its invocation, in words. */
import { errno, errnoName } from '../base/errno.ts';
import { MAX_BUSY } from '../driver/busy-pages.ts';
import { ACCESS_ATOMIC, ACCESS_READ } from '../engine/vm/abi.ts';
import type { LaunchReport } from '../engine/vm/launch.ts';
import type { LaunchFailure, RefusedAccess } from './protocol-launch.ts';

/** What is known of a launch besides its report. */
export interface LaunchFacts {
  readonly budget: number;
  /** Passes without progress after which it was given up; undefined: the usual number. */
  readonly patience: number | undefined;
  readonly usual: number;
  /** Its file was closed. */
  readonly isClosed: boolean;
  /** What was wrong, if somebody said so. */
  readonly detail: string;
  /** The failure that ended it was injected. */
  readonly injected: LaunchFailure | undefined;
  readonly lastFault: { readonly address: number; readonly workgroup: number } | undefined;
}

/** Why a launch ended as it did, where, and what to do about it; empty for one that is done. */
export function causeOf(
  { outcome, errno: status, workgroup, passes, logWords }: LaunchReport,
  { budget, patience, usual, isClosed, detail, injected, lastFault }: LaunchFacts,
): string {
  switch (outcome) {
    case 'done':
      return '';
    case 'endless':
      return (
        `workgroup ${workgroup}: an invocation took more than its budget of ${budget} rounds of ` +
        'loops'
      );
    case 'logFull':
      return (
        `workgroup ${workgroup}: an invocation logged ${logWords} words, as many as one may, and ` +
        'then faulted; vm_checkpoint in its loop empties the log, fewer rounds need less of it'
      );
    case 'diverged':
      return `workgroup ${workgroup}: a replay took another way than the run before`;
    case 'stalled': {
      const what = `no progress in ${patience ?? usual} passes, the last of ${passes}`;
      if (lastFault === undefined) return what;
      const { workgroup: who, address } = lastFault;
      return `${what}: workgroup ${who} keeps faulting at 0x${address.toString(16)}`;
    }
    case 'aborted':
      return isClosed ? 'its device was closed' : 'the caller ended it';
    case 'cancelled':
    case 'failed': {
      if (detail !== '') return detail;
      const known: Readonly<Record<number, string>> = {
        [errno.ENODEV]: 'the device was lost',
        [errno.ENOMEM]: 'the device has no room for its logs; a smaller window needs less',
      };
      const isCopy = status === errno.EIO && injected === 'copy';
      const what = isCopy ? 'a copy failed' : (known[status] ?? 'the device failed');
      const isInjected = isCopy || (status === errno.ENODEV && injected === 'device');
      const place = `${errnoName(status)}: ${what} in pass ${passes}`;
      return isInjected ? `${place} (injected)` : place;
    }
  }
}

/** Why an access ended its invocation. */
export function causeOfRefusal(status: number, access: string, address: number): string {
  const why: Partial<Record<number, string>> = {
    [errno.EFAULT]: 'no memory is mapped there that may be read',
    [errno.EPERM]: 'the memory there may not be written',
    [errno.EBUSY]: `others had the page, or all room, for ${MAX_BUSY} passes in a row`,
    [errno.ENOMEM]: 'there is no RAM left for it',
  };
  const what = `${access} at 0x${address.toString(16)}`;
  return `${errnoName(status)}: ${what}: ${why[status] ?? 'the page can not be had'}`;
}

/** An access by its number (`ACCESS_*`). */
export function accessName(access: number): RefusedAccess['access'] {
  if (access === ACCESS_READ) return 'read';
  return access === ACCESS_ATOMIC ? 'atomic' : 'write';
}
