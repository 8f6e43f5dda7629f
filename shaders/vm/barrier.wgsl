// Barriers: the workgroup meets, and leaves as a whole if anyone of it stopped. Whoever stopped
// writes the same value, so it does not matter who writes last.

var<workgroup> vm_left: u32;

struct VmShown {
  value: u32,
  left: u32,
}
var<workgroup> vm_shown: VmShown;

fn vm_barrier() -> bool {
  if (vm_never != 0u) { vm_left = 1u; }
  return workgroupUniformLoad(&vm_left) == 0u;
}

fn vm_storage_barrier() -> bool {
  storageBarrier();
  return vm_barrier();
}

// The value of the workgroup's first invocation, the same for all. If anyone stopped, all stop: the
// value may be made up.
fn vm_uniform(value: u32) -> u32 {
  if (vm_lane == 0u) { vm_shown.value = value; }
  if (vm_never != 0u) { vm_shown.left = 1u; }
  let shown = workgroupUniformLoad(&vm_shown);
  vm_never = select(VM_PTE_NEVER, vm_never, shown.left == 0u);
  return shown.value;
}
