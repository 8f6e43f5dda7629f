// Copies pages inside one arena.
//
// Bindings: arena (read and write), status, batch.
// Job: frame = target frame, other = source frame. page_lanes lanes copy a page, each every
// page_lanes-th unit of it. Jobs of a batch run in any order: no target is another's source.
// Bounds: a job whose target or source lies outside the arena sets STATUS_BAD_FRAME or
// STATUS_BAD_OTHER and touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Unit>;

@compute @workgroup_size(lanes)
fn copy_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group, lane);
  let page_lane = lane % page_lanes;
  if (job >= batch.job_count) { return; }
  let target_frame = batch.jobs[job].frame;
  let source_frame = batch.jobs[job].other;
  let frames = arrayLength(&arena) / UNITS_PER_PAGE;
  if (target_frame >= frames) { refuse(STATUS_BAD_FRAME, job, page_lane); return; }
  if (source_frame >= frames) { refuse(STATUS_BAD_OTHER, job, page_lane); return; }
  let to = target_frame * UNITS_PER_PAGE;
  let base = source_frame * UNITS_PER_PAGE;
  for (var i = page_lane; i < UNITS_PER_PAGE; i += page_lanes) {
    arena[to + i] = arena[base + i];
  }
}
