// Fills arena pages with zeroes.
//
// Bindings: arena (read and write), status, batch.
// Job: frame = target frame, other = not used. page_lanes lanes clear a page, each
// every page_lanes-th unit of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME and touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Unit>;

@compute @workgroup_size(lanes)
fn clear_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group, lane);
  let page_lane = lane % page_lanes;
  if (job >= batch.job_count) { return; }
  let target_frame = batch.jobs[job].frame;
  if (target_frame >= arrayLength(&arena) / UNITS_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, page_lane);
    return;
  }
  let to = target_frame * UNITS_PER_PAGE;
  for (var i = page_lane; i < UNITS_PER_PAGE; i += page_lanes) {
    arena[to + i] = Unit();
  }
}
