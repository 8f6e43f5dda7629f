// What kernels and the pass that collects their stops bind, besides the arena.

@group(0) @binding(1) var<storage, read> vm_table: array<u32>;
@group(0) @binding(2) var<storage, read_write> vm_control: array<atomic<u32>>;
// A flag for each slot, the states of its invocations, then their logs.
@group(0) @binding(3) var<storage, read_write> vm_memo: array<u32>;
@group(0) @binding(4) var<storage, read> vm_work: array<vec2u>;
@group(0) @binding(5) var<uniform> vm_params: VmParams;

// Both loads and no branch: a directory entry without a table points at a table of zeros, and where
// it maps 2 MiB itself, the second load is of no use and does no harm.
fn vm_entry(va: u32) -> u32 {
  let directory = vm_table[va >> 21u];
  let page = (va >> 12u) & 511u;
  let small = vm_table[(directory >> 8u) + page];
  return select(small, directory + (page << 8u), (directory & VM_PTE_BLOCK) != 0u);
}

// Where a field of an invocation's state is.
fn vm_state(slot: u32, field: u32, lane: u32, slots: u32, lanes: u32) -> u32 {
  return slots + (slot * VM_STATE_WORDS + field) * lanes + lane;
}

// One fault record, or a count of those that found no room.
fn vm_post(va: u32, access: u32, kind: u32, group: u32, lane: u32, done: u32) {
  let ring_at = VM_STATUS_AT + vm_params.slots;
  if ((vm_params.flags & VM_FLAG_DEDUP) != 0u) {
    let uses_at = ring_at + vm_params.ring_records * VM_FAULT_WORDS;
    let pending_at = uses_at + VM_USE_FRAMES * VM_USE_KINDS;
    let page = va >> 12u;
    let writes = select(0u, 1u, access != VM_READ && access != VM_PREFETCH);
    let bit = 1u << ((page & 15u) * 2u + writes);
    let before = atomicOr(&vm_control[pending_at + (page >> 4u)], bit);
    if ((before & bit) != 0u) { return; }
  }
  let place = atomicAdd(&vm_control[VM_FAULTS], 1u);
  if (place >= vm_params.ring_records) { return; }
  let at = ring_at + place * VM_FAULT_WORDS;
  atomicStore(&vm_control[at], va);
  atomicStore(&vm_control[at + 1u], access);
  atomicStore(&vm_control[at + 2u], kind);
  atomicStore(&vm_control[at + 3u], vm_params.context);
  atomicStore(&vm_control[at + 4u], group);
  atomicStore(&vm_control[at + 5u], lane);
  atomicStore(&vm_control[at + 6u], done);
}
