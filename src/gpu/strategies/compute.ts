/*
 * Strategy `compute`: WGSL kernels by descriptor. RAM to VRAM: one copy from the staging ring into
 * a device-local bounce buffer, then a scatter kernel. VRAM to RAM: a gather kernel, then one copy.
 * VRAM to VRAM: a copy kernel inside an arena, gather and scatter between two. What is submitted
 * does not grow with the number of pages; that is what wins on GPUs, where each copy command costs
 * microseconds. On software adapters a kernel copies several times slower than a copy command.
 */
import { PAGE_SIZE } from '../../base/units.ts';
import {
  SEGMENT_ACROSS,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from '../flight-plan.ts';
import { dispatchGroups } from './kernels.ts';
import type { Recording, Strategy } from './strategy.ts';

export const computeStrategy: Strategy = {
  name: 'compute',
  sortsRows: false,
  stagesUploads: true,
  movesInPlace: true,
  upload: scatterUploads,
  download: gatherDownloads,
  move: moveByKernels,
  clear: clearByKernel,
};

function scatterUploads(recording: Recording): void {
  const { plan, resources, encoder } = recording;
  const { jobs, bounce, stats } = resources;
  const bytes = plan.pagesOf[SEGMENT_UPLOAD]! * PAGE_SIZE;
  encoder.copyBufferToBuffer(recording.upload!, 0, bounce, 0, bytes);
  stats.copyCommands += 1;
  const group = jobs.addGroups(plan, SEGMENT_UPLOAD, plan.arena, plan.frame, plan.slot, 1);
  const pass = encoder.beginComputePass();
  dispatchGroups(recording, pass, 'scatter-pages', group);
  pass.end();
}

function gatherDownloads(recording: Recording): void {
  const { plan, resources, encoder } = recording;
  const { jobs, bounce, stats } = resources;
  const group = jobs.addGroups(plan, SEGMENT_DOWNLOAD, plan.arena, plan.frame, plan.slot, 1);
  const pass = encoder.beginComputePass();
  dispatchGroups(recording, pass, 'gather-pages', group);
  pass.end();
  const bytes = plan.pagesOf[SEGMENT_DOWNLOAD]! * PAGE_SIZE;
  encoder.copyBufferToBuffer(bounce, 0, recording.readback!, 0, bytes);
  stats.copyCommands += 1;
}

function moveByKernels(recording: Recording): void {
  const { plan, resources, encoder } = recording;
  const { jobs } = resources;
  const pass = encoder.beginComputePass();
  if (plan.has(SEGMENT_WITHIN)) {
    const { arena, frame, sourceFrame } = plan;
    const group = jobs.addGroups(plan, SEGMENT_WITHIN, arena, frame, sourceFrame, 1);
    dispatchGroups(recording, pass, 'copy-pages', group);
  }
  if (plan.has(SEGMENT_ACROSS)) {
    const { arena, frame, sourceArena, sourceFrame, slot } = plan;
    const gather = jobs.addGroups(plan, SEGMENT_ACROSS, sourceArena, sourceFrame, slot, 1);
    dispatchGroups(recording, pass, 'gather-pages', gather);
    const scatter = jobs.addGroups(plan, SEGMENT_ACROSS, arena, frame, slot, 1);
    dispatchGroups(recording, pass, 'scatter-pages', scatter);
  }
  pass.end();
}

function clearByKernel(recording: Recording): void {
  const { plan, resources, encoder } = recording;
  const { arena, frame, argument } = plan;
  const group = resources.jobs.addGroups(plan, SEGMENT_CLEAR, arena, frame, argument, 0);
  const pass = encoder.beginComputePass();
  dispatchGroups(recording, pass, 'clear-pages', group);
  pass.end();
}
