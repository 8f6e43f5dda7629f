/*
 * Recording kernel dispatches, and the two kinds of job that only kernels can do: ADD and CHECKSUM.
 */
import type { KernelName } from '../abi.ts';
import { SEGMENT_ADD, SEGMENT_SUM } from '../flight-plan.ts';
import type { Recording } from './strategy.ts';

/**
 * Records one dispatch for each group of jobs from `firstGroup` on.
 *
 * Context: inside a compute pass. Source: our own.
 */
export function dispatchGroups(
  recording: Recording,
  pass: GPUComputePassEncoder,
  name: KernelName,
  firstGroup: number,
): void {
  const { jobs, kernels, stats } = recording.resources;
  const { pipeline, groups } = kernels.kernels[name];
  pass.setPipeline(pipeline);
  for (let group = firstGroup; group < jobs.groups; group++) {
    const bound = groups[jobs.groupArena[group]!];
    pass.setBindGroup(0, bound, jobs.groupOffset, group, 1);
    pass.dispatchWorkgroups(jobs.gridWidth(group), jobs.gridRows(group));
    stats.dispatches += 1;
  }
}

/** Records the additions of the flight. */
export function recordAdds(recording: Recording): void {
  const { plan, resources, encoder } = recording;
  const { jobs } = resources;
  const group = jobs.addGroups(plan, SEGMENT_ADD, plan.arena, plan.frame, plan.argument, 0);
  const pass = encoder.beginComputePass();
  dispatchGroups(recording, pass, 'add-words', group);
  pass.end();
}

/**
 * Records the checksums of the flight, and the copy of the partial sums to the readback slot.
 *
 * @param offsetBytes where in the slot they go
 */
export function recordSums(recording: Recording, offsetBytes: number): void {
  const { plan, resources, encoder } = recording;
  const { jobs, sums, stats } = resources;
  const group = jobs.addGroups(plan, SEGMENT_SUM, plan.arena, plan.frame, plan.argument, 1);
  jobs.numberResults(plan, SEGMENT_SUM, group, plan.result);
  const pass = encoder.beginComputePass();
  dispatchGroups(recording, pass, 'checksum-pages', group);
  pass.end();
  encoder.copyBufferToBuffer(sums, 0, recording.readback!, offsetBytes, jobs.results * 4);
  stats.copyCommands += 1;
}
