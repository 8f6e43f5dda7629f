// What the host and kernels over virtual memory agree on: src/engine/vm/abi.ts in WGSL.

const VM_PTE_BLOCK: u32 = 8u;
const VM_PTE_KILLS: u32 = 4u;
const VM_PTE_NEVER: u32 = 128u;
const VM_PTE_PERMISSIONS: u32 = 7u;

const VM_READ: u32 = 0u;
const VM_WRITE: u32 = 1u;
const VM_ATOMIC: u32 = 2u;
const VM_PREFETCH: u32 = 3u;
const VM_PREFETCH_WRITE: u32 = 4u;

const VM_FAULT_ABSENT: u32 = 0u;
const VM_FAULT_PERMISSION: u32 = 1u;
const VM_FAULT_FORCED: u32 = 2u;
const VM_FAULT_WORDS: u32 = 8u;

const VM_FAULTS: u32 = 0u;
const VM_STOPPED: u32 = 1u;
const VM_LOG_FULL: u32 = 2u;
const VM_ENDLESS: u32 = 3u;
const VM_DIVERGED: u32 = 4u;
const VM_KILLED: u32 = 5u;
const VM_PROGRESS: u32 = 6u;
const VM_CHECKED: u32 = 7u;
const VM_STATUS_AT: u32 = 8u;
const VM_USE_FRAMES: u32 = 64u;
const VM_USE_KINDS: u32 = 3u;

const VM_SLOT_STOPPED: u32 = 1u;
const VM_SLOT_LOG_FULL: u32 = 2u;
const VM_SLOT_ENDLESS: u32 = 4u;
const VM_SLOT_KILLED: u32 = 8u;
const VM_SLOT_DIVERGED: u32 = 16u;

// Why an invocation stopped: its address, with the access plus 1 in the two lowest bits, or these.
const VM_WHY_ENDLESS: u32 = 4u;
const VM_WHY_LOG_FULL: u32 = 8u;

const VM_STATE_WORDS: u32 = 4u;
const VM_CHECK_WORDS: u32 = 6u;
const VM_STATE_DONE: u32 = 0u;
const VM_STATE_LOGGED: u32 = 1u;
const VM_STATE_HASH: u32 = 2u;
const VM_STATE_WHY: u32 = 3u;

const VM_FLAG_MEETS: u32 = 1u;
const VM_FLAG_DEDUP: u32 = 2u;
const VM_FLAG_FORCE: u32 = 4u;
const VM_FLAG_COUNTS: u32 = 8u;

struct VmParams {
  context: u32,
  first: u32,
  count: u32,
  width: u32,
  log_words: u32,
  budget: u32,
  force_at: u32,
  flags: u32,
  lanes: u32,
  slots: u32,
  ring_records: u32,
  uses_frame: u32,
  args: array<vec4u, 8>,
}
