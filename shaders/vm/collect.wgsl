// After the kernel, in the same submission: finds the workgroups in which anyone stopped, posts the
// faults, counts, and decides who goes on. One invocation works on one slot, and does nothing where
// nobody stopped. So kernels themselves carry neither the ring nor its atomics.

#import abi
#import bindings

@compute @workgroup_size(64)
fn vm_collect(@builtin(global_invocation_id) id: vec3u) {
  let item = id.x;
  if (item >= vm_params.count) { return; }
  let work = vm_work[vm_params.first + item];
  let slot = work.y;
  if (vm_memo[slot] == 0u) { return; }
  vm_memo[slot] = 0u;
  var status = 0u;
  for (var lane = 0u; lane < vm_params.lanes; lane++) { status |= vm_settle(work, lane); }
  let ends = VM_SLOT_ENDLESS | VM_SLOT_KILLED;
  if ((vm_params.flags & VM_FLAG_MEETS) != 0u && (status & ends) != 0u) {
    // A workgroup that meets ends as a whole.
    for (var lane = 0u; lane < vm_params.lanes; lane++) {
      vm_memo[vm_at(slot, VM_STATE_DONE, lane)] = 0u;
    }
    status &= ~VM_SLOT_STOPPED;
  }
  atomicOr(&vm_control[VM_STATUS_AT + slot], status);
}

fn vm_at(slot: u32, field: u32, lane: u32) -> u32 {
  return vm_state(slot, field, lane, vm_params.slots, vm_params.lanes);
}

// One invocation: what its stop means for the slot.
fn vm_settle(work: vec2u, lane: u32) -> u32 {
  let done_at = vm_at(work.y, VM_STATE_DONE, lane);
  let state = vm_memo[done_at];
  if (state == 0u) { return 0u; }
  let why_at = vm_at(work.y, VM_STATE_WHY, lane);
  let why = vm_memo[why_at];
  vm_memo[why_at] = 0u;
  var status = vm_judge(why, state >> 1u, work.x, lane);
  // It went on past its log, so nothing can take it up again.
  let logged = vm_memo[vm_at(work.y, VM_STATE_LOGGED, lane)];
  if (logged > vm_params.log_words) { status |= VM_SLOT_LOG_FULL; }
  if ((status & (VM_SLOT_ENDLESS | VM_SLOT_KILLED)) != 0u) {
    vm_memo[done_at] = 0u;
    return status;
  }
  atomicAdd(&vm_control[VM_STOPPED], 1u);
  atomicAdd(&vm_control[VM_PROGRESS], state >> 1u);
  return status | VM_SLOT_STOPPED;
}

// The table is as it was for the kernel, so looking again tells why the access failed.
fn vm_judge(why: u32, done: u32, group: u32, lane: u32) -> u32 {
  if (why == 0u) { return 0u; }
  if (why == VM_WHY_ENDLESS) {
    atomicAdd(&vm_control[VM_ENDLESS], 1u);
    return VM_SLOT_ENDLESS;
  }
  if (why == VM_WHY_LOG_FULL) {
    atomicAdd(&vm_control[VM_LOG_FULL], 1u);
    return VM_SLOT_LOG_FULL;
  }
  let access = (why & 3u) - 1u;
  let va = why & 0xfffffffcu;
  let entry = vm_entry(va);
  if ((entry & (1u << access)) == 0u) {
    if ((entry & (1u << (access + VM_PTE_KILLS))) != 0u) {
      atomicAdd(&vm_control[VM_KILLED], 1u);
      return VM_SLOT_KILLED;
    }
    let held = (entry & VM_PTE_PERMISSIONS) != 0u;
    let kind = select(VM_FAULT_ABSENT, VM_FAULT_PERMISSION, held);
    vm_post(va, access, kind, group, lane, done);
    return 0u;
  }
  // Only a first attempt that does not count its operations can't fill a log.
  let counts = (vm_params.flags & VM_FLAG_COUNTS) != 0u;
  let forced = (vm_params.flags & VM_FLAG_FORCE) != 0u;
  if (forced && (!counts || done == vm_params.force_at)) {
    vm_post(va, access, VM_FAULT_FORCED, group, lane, done);
    return 0u;
  }
  atomicAdd(&vm_control[VM_LOG_FULL], 1u);
  return VM_SLOT_LOG_FULL;
}
