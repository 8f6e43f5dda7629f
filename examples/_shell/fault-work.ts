/*
 * What the fault model is given to run: a workload by name, or a trace that was recorded.
 */
import { makeWorkload } from '../../src/index.ts';
import type { AccessTrace, WorkloadName } from '../../src/index.ts';

/** A workload to be made, or a trace. */
export type FaultWork =
  | {
      readonly name: WorkloadName;
      readonly pages: number;
      readonly passes: number | null;
    }
  | AccessTrace;

/** Pages that a trace has, touched or not. */
export function pagesOf(trace: AccessTrace): number {
  return trace.regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
}

/** The trace to run. */
export function traceOf(work: FaultWork, seed: number): AccessTrace {
  if ('regions' in work) return work;
  const { name, pages, passes } = work;
  return makeWorkload(name, { pages, seed, ...(passes === null ? {} : { passes }) });
}

/** What it is called in files. */
export function workName(work: FaultWork): string {
  if ('regions' in work) return `the trace ${work.name}`;
  const passes = work.passes === null ? '' : `, ${work.passes} passes`;
  return `${work.name}, ${work.pages} pages${passes}`;
}
