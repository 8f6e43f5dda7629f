// Copies scattered arena pages into the bounce buffer.
//
// Bindings: arena (read), status, batch, bounce (read and write).
// Job: frame = source frame in the arena, other = target page of the bounce buffer. page_lanes
// lanes copy a page, each every page_lanes-th unit of it.
// Bounds: a job outside the arena sets STATUS_BAD_FRAME, one outside the bounce buffer
// STATUS_BAD_OTHER; it touches nothing.
#import abi
#import page

@group(0) @binding(0) var<storage, read> arena: array<Unit>;
@group(0) @binding(3) var<storage, read_write> bounce: array<Unit>;

@compute @workgroup_size(lanes)
fn gather_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group, lane);
  let page_lane = lane % page_lanes;
  if (job >= batch.job_count) { return; }
  let source_frame = batch.jobs[job].frame;
  let target_page = batch.jobs[job].other;
  if (source_frame >= arrayLength(&arena) / UNITS_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, page_lane);
    return;
  }
  if (target_page >= arrayLength(&bounce) / UNITS_PER_PAGE) {
    refuse(STATUS_BAD_OTHER, job, page_lane);
    return;
  }
  let base = source_frame * UNITS_PER_PAGE;
  let to = target_page * UNITS_PER_PAGE;
  for (var i = page_lane; i < UNITS_PER_PAGE; i += page_lanes) {
    bounce[to + i] = arena[base + i];
  }
}
