// Frames of device memory for kernels without atomic operations.

@group(0) @binding(0) var<storage, read_write> vm_arena: array<u32>;

fn vm_get(at: u32) -> u32 {
  return vm_arena[at];
}

fn vm_put(at: u32, value: u32) {
  vm_arena[at] = value;
}

fn vm_apply(at: u32, value: u32, kind: u32) {
  vm_arena[at] = value;
}
