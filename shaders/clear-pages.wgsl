// Fills arena pages with zeroes.
//
// Bindings: group 0: arena (read and write), status; group 1: batch.
// Job: frame = target frame, other = not used. A workgroup clears one page, a lane every lanes-th
// line or part of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME and touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Line>;

@compute @workgroup_size(lanes)
fn clear_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group);
  if (job >= batch.job_count) { return; }
  let target_frame = batch.jobs[job].frame;
  if (target_frame >= arrayLength(&arena) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, lane);
    return;
  }
  let to = target_frame * LINES_PER_PAGE;
  if (whole_lines) {
    for (var i = lane; i < LINES_PER_PAGE; i += lanes) {
      arena[to + i] = Line();
    }
  } else {
    for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
      arena[to + i / PARTS_PER_LINE].parts[i % PARTS_PER_LINE] = vec4u();
    }
  }
}
