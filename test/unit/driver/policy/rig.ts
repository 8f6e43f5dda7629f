/** Small traces and policies for the tests of the fault service. */
import { plainRegion, TraceWriter } from '../../../../src/driver/policy/access-trace.ts';
import type { AccessTrace } from '../../../../src/driver/policy/access-trace.ts';
import { ModelRun, runModel } from '../../../../src/driver/policy/model-run.ts';
import type { ModelOptions, ModelResult } from '../../../../src/driver/policy/model-run.ts';
import type { PlacementStep } from '../../../../src/driver/policy/placement-rows.ts';
import { policyByName } from '../../../../src/driver/policy/policies.ts';
import type { FaultPolicy, PolicyFactory, Region } from '../../../../src/driver/policy/policy.ts';

/** An access of a lane: page and kind. */
export type Touch = readonly [page: number, access: number];

/** A trace with a lane per list; each lane is a workgroup of its own. */
export function traceOf(regions: readonly Region[], ...lanes: (readonly Touch[])[]): AccessTrace {
  const writer = new TraceWriter('test', regions);
  for (const lane of lanes) {
    writer.lane();
    for (const [page, access] of lane) writer.touch(page, access);
  }
  return writer.finish();
}

/** A region of `blocks` blocks from page 0. */
export function blocks(count: number): Region[] {
  return [plainRegion(0, count * 512)];
}

/** UVM's way of fetching and replaying, one page at a time: what most service tests need. */
export function pageByPage(over: Partial<FaultPolicy> = {}): PolicyFactory {
  return () => ({
    name: 'page by page',
    onFaults(faults, _view, answer) {
      for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]!);
    },
    chooseVictims(request, view, victims) {
      for (let page = 0; page < view.pageCount && victims.count < request.pages; page++) {
        if ((view.where[page]! & 2) !== 0 && !view.isProtected(page)) victims.evict(page);
      }
    },
    ...over,
  });
}

export { ModelRun, policyByName, runModel };
export type { ModelOptions, ModelResult };

/** Drives a run to its end, showing each step that moves or maps pages before it counts. */
export function drive(run: ModelRun, onStep: (step: PlacementStep) => void = () => {}): void {
  while (!run.isDone) {
    if (run.service.ring.pending === 0) {
      run.device.run();
      continue;
    }
    for (const step of run.service.pass()) {
      if (step.kind === 'replay') run.device.run(step.isAck);
      else if (step.kind === 'cancel') run.device.cancel(step.page, step.from);
      else onStep(step);
    }
  }
}
