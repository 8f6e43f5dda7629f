// Entry point of kernels without barriers: each invocation stops and goes on by itself.

@compute @workgroup_size(VM_LANES)
fn vm_main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let item = group.y * vm_params.width + group.x;
  if (item >= vm_params.count) { return; }
  let work = vm_work[vm_params.first + item];
  if (!vm_begin(work, lane)) { return; }
  kernel(work.x, lane);
  if (vm_stop == 0u) {
    vm_commit();
    if (VM_REPLAY) { vm_memo[vm_state_at(0u)] = 0u; }
    return;
  }
  vm_report();
  if (vm_stop < VM_STOP_ENDLESS) {
    vm_save();
  } else if (VM_REPLAY) {
    vm_memo[vm_state_at(0u)] = 0u;
  }
}
