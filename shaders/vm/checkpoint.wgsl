// Checkpoints: four words from which an invocation can go on. The log begins anew behind each, so
// that a long loop needs no long log. A replay begins behind the last one. The budget bounds the
// rounds of all passes together, so that a kernel without end ends here, too.

fn vm_check_at(field: u32) -> u32 {
  return VM_CHECKS_AT + (vm_slot * VM_CHECK_WORDS + field) * VM_LANES + vm_lane;
}

// The state to begin with: that of the last checkpoint, or the first.
fn vm_restore(first: vec4u) -> vec4u {
  var state = first;
  if (VM_REPLAY) {
    if (vm_memo[vm_check_at(0u)] != 0u) {
      state.x = vm_memo[vm_check_at(1u)];
      state.y = vm_memo[vm_check_at(2u)];
      state.z = vm_memo[vm_check_at(3u)];
      state.w = vm_memo[vm_check_at(4u)];
      vm_ticks = vm_memo[vm_check_at(5u)];
    }
  } else {
    // The slot may have been that of another workgroup.
    vm_memo[vm_check_at(0u)] = 0u;
  }
  return state;
}

// A replay can't meet one that it has passed: it begins behind the last.
fn vm_checkpoint(state: vec4u) {
  if (vm_never != 0u || vm_replaying()) { return; }
  vm_memo[vm_check_at(0u)] = 1u;
  vm_memo[vm_check_at(1u)] = state.x;
  vm_memo[vm_check_at(2u)] = state.y;
  vm_memo[vm_check_at(3u)] = state.z;
  vm_memo[vm_check_at(4u)] = state.w;
  vm_memo[vm_check_at(5u)] = vm_ticks;
  vm_checked = 1u;
  vm_done = 0u;
  vm_logged = 0u;
  vm_resume = 0u;
  vm_hash = 0u;
}
