// Copies scattered arena pages into the bounce buffer.
//
// Bindings: group 0: arena (read), status; group 1: batch, bounce (read and write).
// Job: frame = source frame in the arena, other = target page of the bounce buffer. A workgroup
// copies one page, a lane every lanes-th line or part of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME, one outside the bounce buffer
// STATUS_BAD_OTHER; it touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read> arena: array<Line>;
@group(1) @binding(1) var<storage, read_write> bounce: array<Line>;

@compute @workgroup_size(lanes)
fn gather_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group);
  if (job >= batch.job_count) { return; }
  let source_frame = batch.jobs[job].frame;
  let target_page = batch.jobs[job].other;
  if (source_frame >= arrayLength(&arena) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, lane);
    return;
  }
  if (target_page >= arrayLength(&bounce) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_OTHER, job, lane);
    return;
  }
  let base = source_frame * LINES_PER_PAGE;
  let to = target_page * LINES_PER_PAGE;
  if (whole_lines) {
    for (var i = lane; i < LINES_PER_PAGE; i += lanes) {
      bounce[to + i] = arena[base + i];
    }
  } else {
    for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
      let line = i / PARTS_PER_LINE;
      let part = i % PARTS_PER_LINE;
      bounce[to + line].parts[part] = arena[base + line].parts[part];
    }
  }
}
