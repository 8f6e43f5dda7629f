// Entry point of kernels without barriers: each invocation stops and goes on by itself.

@compute @workgroup_size(VM_LANES)
fn vm_main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let item = group.y * vm_params.width + group.x;
  if (item >= vm_params.count) { return; }
  let work = vm_work[vm_params.first + item];
  if (vm_begin(work, lane)) {
    kernel(work.x, lane);
    if (vm_never == 0u) {
      vm_commit();
      vm_finish();
    } else {
      vm_save();
    }
  }
}
