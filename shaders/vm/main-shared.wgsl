// Entry point of kernels that use results of atomics on workgroup memory: main-barrier.wgsl, with
// those variables put back before a replay, and put aside when the workgroup stops.

@compute @workgroup_size(VM_LANES)
fn vm_main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let item = group.y * vm_params.width + group.x;
  if (item >= vm_params.count) { return; }
  let work = vm_work[vm_params.first + item];
  _ = vm_begin(work, lane);
  if (VM_REPLAY) {
    vm_put_back();
    // Nobody has stopped yet: this only waits.
    _ = vm_barrier();
  }
  kernel(work.x, lane);
  if (vm_barrier()) {
    vm_commit();
    vm_finish();
  } else {
    vm_save();
    vm_put_aside();
  }
}
