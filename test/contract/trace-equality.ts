/*
 * A recorded access trace, driven under a policy by the model, against the real run of the kernel
 * under the same policy: the same faults, batches, bytes and times.
 *
 * Why they can be equal, number by number. The engine reports each stopped invocation and all that
 * was accessed; the pager puts both in the order of workgroups, invocations and barriers, in which
 * the model's device goes through a trace. Page tables do not change during a pass, so how far an
 * invocation gets in it does not depend on that order. The kernels are those whose accesses do not
 * depend on it either, which is tested first.
 */
import { expect } from 'vitest';
import { COST_MODEL } from '../../src/driver/policy/cost-model.ts';
import type { AccessTrace } from '../../src/driver/policy/access-trace.ts';
import { ModelRun } from '../../src/driver/policy/model-run.ts';
import type { ModelOptions } from '../../src/driver/policy/model-run.ts';
import type { PolicyFactory, Region } from '../../src/driver/policy/policy.ts';
import { recordTrace } from '../../src/driver/record-trace.ts';
import type { ServicePager } from '../../src/driver/service-pager.ts';
import { CpuVmEngine } from '../../src/engine/vm/cpu-vm.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { runServed } from '../vm/machine-run.ts';
import type { MachineRig, ServedOptions } from '../vm/machine-run.ts';

/** Records a case's accesses, on an engine with a seed of its own. */
export async function traceOfCase(
  one: VmCase,
  regions: readonly Region[],
  seed: number,
): Promise<AccessTrace> {
  const { kernel, workgroups, args, bytes, base } = one;
  const pages = regions.reduce((sum, { first, outer }) => sum + outer - first, 0);
  const engine = new CpuVmEngine(pages, seed);
  const contents = (page: number): Uint8Array => {
    const from = page * 4096 - base;
    return bytes.subarray(from, from + 4096);
  };
  const recorded = await recordTrace(engine, { kernel, workgroups, args, regions, contents });
  if ('problems' in recorded) throw new Error(recorded.problems[0]!.reason);
  expect(recorded.outcome).toBe('done');
  return recorded.trace;
}

/** How a run goes. */
export interface EqualityOptions {
  readonly policy: PolicyFactory;
  readonly window: number;
  readonly devicePages: number;
  readonly dedup?: boolean;
  readonly model?: Partial<ModelOptions>;
  /** Whether the engine reports accesses; without, only what does not need them is compared. */
  readonly reports?: boolean;
}

/** What both kinds of run leave behind. */
interface Books {
  readonly service: ServicePager['service'];
}

function booksOf({ service }: Books, reports: boolean): unknown {
  const { counts, times, batches, space, ring } = service;
  const books = {
    counts: { ...counts, overflows: ring.overflows },
    ...batches.last(),
    times: { ...times },
    where: Buffer.from(space.where.subarray(0, space.pageCount)).toString('hex'),
    mapped: Buffer.from(space.mapped.subarray(0, space.pageCount)).toString('hex'),
  };
  // Whether a prefetched page was used nobody knows who does not see accesses, nor how often pages
  // in RAM were.
  if (!reports) {
    books.counts.prefetchedUnused = 0;
    books.counts.remoteUses = 0;
  }
  return books;
}

/** Runs a case both ways and compares. @returns the real run's pager, for more. */
export async function expectSameRuns(
  rig: MachineRig,
  one: VmCase,
  addr: number,
  trace: AccessTrace,
  options: EqualityOptions,
): Promise<ServicePager> {
  const { policy, window, devicePages, dedup = false, reports = true } = options;
  // What is not seen takes no time.
  const cost = reports ? COST_MODEL : { ...COST_MODEL, accessUs: 0, remoteUs: 0 };
  const served: ServedOptions = {
    policy,
    cost,
    checks: one.bytes.length < 100 * 4096,
    devicePages,
    isComplete: true,
    dedup,
    slots: window,
    // Every stop is reported, and what an invocation has done it need not do again.
    program: {
      dedup: false,
      alwaysLog: true,
      reportsAccesses: reports,
      ringRecords: window * one.kernel.lanes * 16,
      logWords: 256,
    },
    request: { window },
  };
  const { report, pager } = await runServed(rig, one, addr, served);
  expect(report).toMatchObject({ outcome: 'done', overflow: 0, killed: 0, logGrowths: 0 });
  const run = new ModelRun(trace, policy, {
    cost,
    devicePages,
    window,
    dedup,
    // Those of a machine.
    duplicates: false,
    ...options.model,
  });
  while (!run.isDone) run.step();
  expect(booksOf(pager, reports)).toEqual(booksOf(run, reports));
  return pager;
}
