// Writes one partial checksum for each page of a batch; the host adds those of a job's pages.
//
// Bindings: arena (read), status, batch, sums (read and write).
// Job: frame = source frame, other = the page's position in the range that the checksum is over, in
// pages. page_lanes lanes read a page and add up in workgroup memory; the first of them writes the
// sum to sums[batch.first_result + job].
// Bounds: a job outside the arena sets STATUS_BAD_FRAME, one whose sum lies outside `sums`
// STATUS_BAD_OTHER; it writes nothing. Nobody leaves early: all lanes meet at the barrier.
#import abi
#import page

@group(0) @binding(0) var<storage, read> arena: array<Unit>;
@group(0) @binding(3) var<storage, read_write> sums: array<u32>;

// One for each job of the workgroup.
var<workgroup> page_sums: array<atomic<u32>, lanes>;

@compute @workgroup_size(lanes)
fn checksum_pages(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = job_of(group, lane);
  let page_lane = lane % page_lanes;
  let place = lane / page_lanes;
  let result = batch.first_result + job;
  let is_good = may_sum(job, result, page_lane);
  if (is_good) { atomicAdd(&page_sums[place], sum_of_lane(job, page_lane)); }
  workgroupBarrier();
  if (is_good && page_lane == 0u) {
    sums[result] = atomicLoad(&page_sums[place]);
  }
}

// Whether there is such a job and it is inside its bounds.
fn may_sum(job: u32, result: u32, page_lane: u32) -> bool {
  if (job >= batch.job_count) { return false; }
  if (batch.jobs[job].frame >= arrayLength(&arena) / UNITS_PER_PAGE) {
    refuse(STATUS_BAD_FRAME, job, page_lane);
    return false;
  }
  if (result >= arrayLength(&sums)) {
    refuse(STATUS_BAD_OTHER, job, page_lane);
    return false;
  }
  return true;
}

fn sum_of_lane(job: u32, page_lane: u32) -> u32 {
  let base = batch.jobs[job].frame * UNITS_PER_PAGE;
  let position = batch.jobs[job].other * UNITS_PER_PAGE * WORDS_PER_UNIT;
  var sum = 0u;
  for (var i = page_lane; i < UNITS_PER_PAGE; i += page_lanes) {
    sum += checksum_unit(arena[base + i], position + i * WORDS_PER_UNIT);
  }
  return sum;
}
