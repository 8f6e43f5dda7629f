// Entry point of kernels with barriers: a workgroup finishes, stops and ends as a whole, since a
// replay has to rebuild workgroup memory with all its invocations.

@compute @workgroup_size(VM_LANES)
fn vm_main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let item = group.y * vm_params.width + group.x;
  if (item >= vm_params.count) { return; }
  let work = vm_work[vm_params.first + item];
  _ = vm_begin(work, lane);
  kernel(work.x, lane);
  let finished = vm_barrier();
  if (finished) {
    vm_commit();
    if (VM_REPLAY) { vm_memo[vm_state_at(0u)] = 0u; }
    return;
  }
  vm_report();
  if (vm_ended == 0u) {
    vm_save();
  } else if (VM_REPLAY) {
    vm_memo[vm_state_at(0u)] = 0u;
  }
}
