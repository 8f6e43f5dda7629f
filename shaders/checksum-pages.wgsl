// Writes one partial checksum for each page of a batch; the host adds those of a job's pages.
//
// Bindings: group 0: arena (read), status; group 1: batch, sums (read and write).
// Job: frame = source frame, other = the page's position in the range that the checksum is over, in
// pages. A workgroup reads one page; its lanes add up in workgroup memory, lane 0 writes the sum to
// sums[batch.first_result + job].
// Bounds: a job outside the arena sets STATUS_BAD_FRAME, one whose sum lies outside `sums`
// STATUS_BAD_OTHER; it writes nothing. The job number is uniform, so whole workgroups leave.
#import abi
#import checksum
#import page

@group(0) @binding(0) var<storage, read> arena: array<Line>;
@group(1) @binding(1) var<storage, read_write> sums: array<u32>;

var<workgroup> page_sum: atomic<u32>;

@compute @workgroup_size(lanes)
fn checksum_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group);
  if (job >= batch.job_count) { return; }
  let source_frame = batch.jobs[job].frame;
  let result = batch.first_result + job;
  if (source_frame >= arrayLength(&arena) / LINES_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, lane);
    return;
  }
  if (result >= arrayLength(&sums)) {
    refuse(STATUS_BAD_OTHER, job, lane);
    return;
  }
  let base = source_frame * LINES_PER_PAGE;
  let position = batch.jobs[job].other * PARTS_PER_PAGE * 4u;
  var sum = 0u;
  for (var i = lane; i < PARTS_PER_PAGE; i += lanes) {
    let part = arena[base + i / PARTS_PER_LINE].parts[i % PARTS_PER_LINE];
    sum += checksum_part(part, position + i * 4u);
  }
  atomicAdd(&page_sum, sum);
  workgroupBarrier();
  if (lane == 0u) {
    sums[result] = atomicLoad(&page_sum);
  }
}
