// The host ABI that all kernels share: job batch, status block, and the bindings that carry them.
// src/engine/kernel-abi.ts is the host's side; test/gpu/abi.test.ts compares the two.
// One job is one page.

struct PageJob {
  // Arena frame that the job is about.
  frame: u32,
  // Bounce page, source frame, page position or operand: see the table in shaders/README.md.
  other: u32,
}

struct JobBatch {
  job_count: u32,
  // Workgroups a row of the grid.
  grid_width: u32,
  first_result: u32,
  reserved: u32,
  jobs: array<PageJob>,
}

struct Status {
  flags: atomic<u32>,
  first_bad: atomic<u32>,
  reserved_0: u32,
  reserved_1: u32,
}

const STATUS_BAD_FRAME: u32 = 1u;
const STATUS_BAD_OTHER: u32 = 2u;

// Invocations of a workgroup. Software adapters want their SIMD width, GPUs a wave or two.
override lanes: u32 = 64;
// Invocations that share a page; divides `lanes`. A workgroup works on lanes / page_lanes jobs.
override page_lanes: u32 = 64;

@group(0) @binding(1) var<storage, read_write> status: Status;
@group(0) @binding(2) var<storage, read> batch: JobBatch;

// The job that a lane of a workgroup works on; grids of more than 65,535 workgroups have several
// rows.
fn job_of(group: vec3u, lane: u32) -> u32 {
  let number = group.y * batch.grid_width + group.x;
  return number * (lanes / page_lanes) + lane / page_lanes;
}

// Records a refused job; one lane of those that share the page does it.
fn refuse(flag: u32, job: u32, page_lane: u32) {
  if (page_lane == 0u) {
    atomicOr(&status.flags, flag);
    atomicMin(&status.first_bad, job);
  }
}
