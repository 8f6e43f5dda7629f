/*
 * Access traces of the logs that recording kernels leave (src/gpu/vm/recording-kernel.ts).
 *
 * Locking. None; pure. Source: our own.
 */
import { REPORT_BARRIER } from '../engine/vm/vm-engine.ts';
import { policyAccess } from './policy/access-log.ts';
import { plainRegion, TraceWriter } from './policy/access-trace.ts';
import type { AccessTrace } from './policy/access-trace.ts';

/**
 * Makes a trace of logs.
 *
 * @param logs of all invocations, one behind the other
 * @param pages of the arrays: accesses elsewhere were refused, and are left out
 * @returns null where a log was too short
 *
 * Context: pure. Source: our own.
 */
export function traceOfLogs(
  name: string,
  logs: Uint32Array,
  logWords: number,
  lanes: number,
  pages: number,
): AccessTrace | null {
  const writer = new TraceWriter(name, [plainRegion(0, pages)]);
  for (let lane = 0; lane * logWords < logs.length; lane++) {
    // The first word is the kernel's own.
    const log = logs.subarray(lane * logWords + 1, (lane + 1) * logWords);
    if (log.at(-1) !== 0) return null;
    writer.lane(lane % lanes === 0);
    for (const word of log.subarray(0, log.indexOf(0))) {
      const [page, what] = [(word - 1) >>> 3, (word - 1) & 7];
      if (what === REPORT_BARRIER) writer.barrier();
      else if (page < pages) writer.touch(page, policyAccess(what));
    }
  }
  return writer.finish();
}
