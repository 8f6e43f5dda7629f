/*
 * Loads and stores of a program, as both worlds see them. Commands and races share them.
 */
import { expect } from 'vitest';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import {
  FAULT_OK,
  FAULT_SIGBUS,
  FAULT_SIGSEGV,
  copyFromUser,
  copyToUser,
} from '../../../src/mm/uaccess.ts';
import type { CopyFault } from '../../../src/mm/uaccess.ts';
import type { Outcome } from '../model.ts';

const OUTCOME_OF = new Map<number, Outcome | 'ENOMEM'>([
  [FAULT_OK, 'ok'],
  [FAULT_SIGSEGV, 'SIGSEGV'],
  [FAULT_SIGBUS, 'SIGBUS'],
]);

/** What an access came to, and the byte of a load. */
export interface Access {
  readonly outcome: Outcome | 'ENOMEM';
  readonly byte: number;
}

export async function cpuLoad(mm: MmStruct, address: number): Promise<Access> {
  const fault: CopyFault = { outcome: FAULT_OK, address: 0 };
  const bytes = new Uint8Array(1);
  const left = await copyFromUser(mm, address, bytes, fault);
  return settle(left, fault, bytes[0]!);
}

export async function cpuStore(mm: MmStruct, address: number, value: number): Promise<Access> {
  const fault: CopyFault = { outcome: FAULT_OK, address: 0 };
  const left = await copyToUser(mm, address, Uint8Array.of(value), fault);
  return settle(left, fault, value);
}

function settle(left: number, fault: CopyFault, byte: number): Access {
  expect(left === 0, 'all was copied exactly when there was no fault').toBe(
    fault.outcome === FAULT_OK,
  );
  return { outcome: OUTCOME_OF.get(fault.outcome) ?? 'ENOMEM', byte };
}
