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
  if (vm_barrier()) {
    vm_commit();
    vm_finish();
  } else {
    vm_save();
  }
}
