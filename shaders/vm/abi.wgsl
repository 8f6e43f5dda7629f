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

const VM_SLOT_STOPPED: u32 = 1u;
const VM_SLOT_LOG_FULL: u32 = 2u;
const VM_SLOT_ENDLESS: u32 = 4u;
const VM_SLOT_KILLED: u32 = 8u;
const VM_SLOT_DIVERGED: u32 = 16u;

const VM_STOP_FAULT: u32 = 1u;
const VM_STOP_LOG_FULL: u32 = 2u;
const VM_STOP_ENDLESS: u32 = 3u;
const VM_STOP_KILLED: u32 = 4u;

const VM_STATE_WORDS: u32 = 3u;

// Where `vm_open` leads when there is no such place.
const VM_NOWHERE: u32 = 0xffffffffu;

struct VmParams {
  context: u32,
  first: u32,
  count: u32,
  width: u32,
  log_words: u32,
  budget: u32,
  force_at: u32,
  reserved: u32,
  args: array<vec4u, 8>,
}
