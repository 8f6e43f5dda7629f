/**
 * The workload: every operation there is. A new one is a row here and a function that draws its
 * arguments, says what it does to shadow memory, makes the call, and checks the answer.
 */
import type { Operation } from '../operation.ts';
import { CPU_OPERATIONS } from './cpu.ts';
import { DEVICE_OPERATIONS } from './device.ts';
import { ENGINE_OPERATIONS } from './engine.ts';
import { EXCLUSIVE_OPERATIONS } from './exclusive.ts';
import { FAULT_OPERATIONS } from './fault.ts';
import { FILE_OPERATIONS } from './files.ts';
import { FREE_OPERATIONS } from './free.ts';
import { COLLAPSE_OPERATIONS, HUGE_OPERATIONS } from './huge.ts';
import { LAYOUT_OPERATIONS, PAGING_OPERATIONS } from './layout.ts';
import { MADVISE_OPERATIONS } from './madvise.ts';
import { MONITOR_OPERATIONS } from './monitor.ts';
import { MREMAP_OPERATIONS } from './mremap.ts';
import { LONGTERM_OPERATIONS, PIN_OPERATIONS } from './pin.ts';
import { PROCESS_OPERATIONS } from './process.ts';
import { PROCESS_VM_OPERATIONS } from './process-vm.ts';
import { REMOTE_OPERATIONS } from './remote.ts';
import { TRUNCATE_OPERATIONS } from './truncate.ts';

/** New rows go to the end: the numbers of those before stay, and with them what a seed means. */
export const OPERATIONS: readonly Operation[] = [
  ...CPU_OPERATIONS,
  ...ENGINE_OPERATIONS,
  ...LAYOUT_OPERATIONS,
  ...PROCESS_OPERATIONS,
  ...PIN_OPERATIONS,
  ...FAULT_OPERATIONS,
  ...DEVICE_OPERATIONS,
  ...EXCLUSIVE_OPERATIONS,
  ...FILE_OPERATIONS,
  ...REMOTE_OPERATIONS,
  ...MREMAP_OPERATIONS,
  ...PAGING_OPERATIONS,
  ...HUGE_OPERATIONS,
  ...MADVISE_OPERATIONS,
  ...LONGTERM_OPERATIONS,
  ...PROCESS_VM_OPERATIONS,
  ...COLLAPSE_OPERATIONS,
  ...FREE_OPERATIONS,
  ...TRUNCATE_OPERATIONS,
  ...MONITOR_OPERATIONS,
];
