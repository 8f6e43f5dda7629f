// Barriers: the workgroup meets, and leaves as a whole if anyone of it stopped. Whoever stopped
// writes the same value, so it does not matter who writes last.

var<workgroup> vm_left: u32;
var<workgroup> vm_shown: u32;

fn vm_barrier() -> bool {
  if (vm_never != 0u) { vm_left = 1u; }
  return workgroupUniformLoad(&vm_left) == 0u;
}

fn vm_storage_barrier() -> bool {
  storageBarrier();
  return vm_barrier();
}

// The value of the workgroup's first invocation, the same for all.
fn vm_uniform(value: u32) -> u32 {
  if (vm_lane == 0u) { vm_shown = value; }
  return workgroupUniformLoad(&vm_shown);
}
