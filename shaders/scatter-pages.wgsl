// Copies the pages of the bounce buffer to scattered arena pages.
//
// Bindings: group 0: arena (read and write), status; group 1: batch, bounce (read).
// Job: frame = target frame in the arena, other = source page of the bounce buffer. A workgroup
// copies one page, a lane every lanes-th line or part of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME, one outside the bounce buffer
// STATUS_BAD_OTHER; it touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read_write> arena: array<Line>;
@group(1) @binding(1) var<storage, read> bounce: array<Line>;

@compute @workgroup_size(lanes)
fn scatter_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group);
  if (job >= batch.job_count) { return; }
  let target_frame = batch.jobs[job].frame;
  let source_page = batch.jobs[job].other;
  if (target_frame >= arrayLength(&arena) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, lane);
    return;
  }
  if (source_page >= arrayLength(&bounce) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_OTHER, job, lane);
    return;
  }
  let to = target_frame * LINES_PER_PAGE;
  let base = source_page * LINES_PER_PAGE;
  if (whole_lines) {
    for (var i = lane; i < LINES_PER_PAGE; i += lanes) {
      arena[to + i] = bounce[base + i];
    }
  } else {
    for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
      let line = i / PARTS_PER_LINE;
      let part = i % PARTS_PER_LINE;
      arena[to + line].parts[part] = bounce[base + line].parts[part];
    }
  }
}
