/**
 * Records an access trace: runs a kernel with everything resident, on a copy of its memory, and
 * writes down what each invocation touches. Memory stays as it is.
 *
 * What a kernel touches must not depend on the order in which its invocations run; where it does
 * (a queue, a hash table) the trace is that of one order. What the process may not do ends its
 * invocation, here as in a real run.
 *
 * Locking: none; waits for the engine. Source: our own.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import {
  PTE_ALL,
  PTE_KILL_ATOMIC,
  PTE_KILL_READ,
  PTE_KILL_WRITE,
  PTE_READ,
  FAULT_ADDRESS,
  FAULT_WORDS,
} from '../engine/vm/abi.ts';
import { DeviceSpace } from '../engine/vm/device-space.ts';
import { launchKernel } from '../engine/vm/launch.ts';
import type { LaunchOutcome } from '../engine/vm/launch.ts';
import { isRefusal } from '../engine/vm/vm-engine.ts';
import type { VmEngine, VmKernel, VmRefusal } from '../engine/vm/vm-engine.ts';
import { TraceWriter } from './policy/access-trace.ts';
import type { AccessTrace } from './policy/access-trace.ts';
import { AccessLog, workgroupOf } from './policy/access-log.ts';
import type { Region } from './policy/policy.ts';

const KILLS = PTE_KILL_READ | PTE_KILL_WRITE | PTE_KILL_ATOMIC;
const KILL_WRITES = PTE_KILL_WRITE | PTE_KILL_ATOMIC;

/** A launch to record. */
export interface RecordRequest {
  readonly kernel: VmKernel;
  readonly workgroups: number;
  readonly args: readonly number[];
  /** Memory of the context: all pages of its regions are there. */
  readonly regions: readonly Region[];
  /** Contents of a page. */
  readonly contents: (page: number) => Uint8Array;
  /** Workgroups at a time; default 64. The trace does not depend on it. */
  readonly slots?: number;
  readonly budget?: number;
}

/** What came of it. */
export interface Recorded {
  readonly outcome: LaunchOutcome;
  readonly trace: AccessTrace;
}

/**
 * Records a launch.
 *
 * @param engine one that reports accesses, with a frame for each page of the regions
 * @returns the trace, and how the launch ended: also one that did not finish has a trace; ENOMEM
 * where the engine has too few frames; why the kernel was refused
 *
 * Context: waits.
 */
export async function recordTrace(
  engine: VmEngine,
  request: RecordRequest,
): Promise<Recorded | VmRefusal> {
  const { kernel, regions, workgroups, args } = request;
  const pages = regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
  if (pages > engine.frames) return { errno: errno.ENOMEM, problems: [] };
  const program = await engine.compile(kernel, {
    slots: Math.min(workgroups, request.slots ?? 64),
    reportsAccesses: true,
  });
  if (isRefusal(program)) return program;
  const space = new DeviceSpace(regions[0]?.context ?? 0);
  let frame = 0;
  for (const { first, outer, isWritable } of regions) {
    const flags = isWritable ? PTE_ALL : PTE_READ | KILL_WRITES;
    for (let page = first; page < outer; page++) {
      engine.writeFrame(frame, request.contents(page));
      space.mapPage(page * PAGE_SIZE, frame++, flags);
    }
  }
  const log = new AccessLog();
  const { outcome } = await launchKernel(program, {
    space,
    workgroups,
    args,
    ...(request.budget === undefined ? {} : { budget: request.budget }),
    onPass: (_counts, { accesses }) => {
      if (accesses !== undefined) log.take(accesses);
    },
    // Everything is there: what faults has no address.
    pager: ({ records }) => {
      for (let at = 0; at < records.length; at += FAULT_WORDS) {
        space.unmapPage(records[at + FAULT_ADDRESS]!, KILLS);
      }
    },
  });
  engine.drop(space);
  return { outcome, trace: traceOf(log, kernel.name, regions) };
}

/** The trace of all that a log holds. */
function traceOf(log: AccessLog, name: string, regions: readonly Region[]): AccessTrace {
  const writer = new TraceWriter(name, regions);
  let workgroup = -1;
  log.drainLanes({
    lane: (key) => {
      // A workgroup that touched nothing has no lanes; it is there all the same.
      for (; workgroup < workgroupOf(key) - 1; workgroup++) writer.lane();
      writer.lane(workgroup !== workgroupOf(key));
      workgroup = workgroupOf(key);
    },
    access: (page, access) => writer.touch(page, access),
    barrier: () => writer.barrier(),
  });
  return writer.finish();
}
