// Copies pages inside one arena.
//
// Bindings: group 0: arena (read and write), status; group 1: batch.
// Job: frame = target frame, other = source frame. A workgroup copies one page, a lane every
// lanes-th line or part of it. Jobs of a batch run in any order: no target is another's source.
// Bounds: a job whose target or source lies outside the arena sets STATUS_BAD_FRAME or
// STATUS_BAD_OTHER and touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Line>;

@compute @workgroup_size(lanes)
fn copy_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group);
  if (job >= batch.job_count) { return; }
  let target_frame = batch.jobs[job].frame;
  let source_frame = batch.jobs[job].other;
  let frames = arrayLength(&arena) / LINES_PER_PAGE;
  if (target_frame >= frames) { refuse(STATUS_BAD_FRAME, job, lane); return; }
  if (source_frame >= frames) { refuse(STATUS_BAD_OTHER, job, lane); return; }
  let to = target_frame * LINES_PER_PAGE;
  let base = source_frame * LINES_PER_PAGE;
  if (whole_lines) {
    for (var i = lane; i < LINES_PER_PAGE; i += lanes) {
      arena[to + i] = arena[base + i];
    }
  } else {
    for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
      let line = i / PARTS_PER_LINE;
      let part = i % PARTS_PER_LINE;
      arena[to + line].parts[part] = arena[base + line].parts[part];
    }
  }
}
