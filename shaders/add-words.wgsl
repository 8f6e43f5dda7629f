// Adds a constant to every 32-bit word of arena pages, modulo 2^32: the smallest work that only the
// device can have done.
//
// Bindings: group 0: arena (read and write), status; group 1: batch.
// Job: frame = target frame, other = the constant. A workgroup works on one page, a lane on every
// lanes-th part of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME and touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Line>;

@compute @workgroup_size(lanes)
fn add_words(
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
  let operand = vec4u(batch.jobs[job].other);
  let to = target_frame * LINES_PER_PAGE;
  for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
    let line = to + i / PARTS_PER_LINE;
    let part = i % PARTS_PER_LINE;
    arena[line].parts[part] = arena[line].parts[part] + operand;
  }
}
