// Frames of device memory for kernels with atomic operations or stores of bytes: WebGPU allows no
// plain and atomic views of one buffer in one dispatch.

@group(0) @binding(0) var<storage, read_write> vm_arena: array<atomic<u32>>;

fn vm_get(at: u32) -> u32 {
  return atomicLoad(&vm_arena[at]);
}

fn vm_put(at: u32, value: u32) {
  atomicStore(&vm_arena[at], value);
}

// An effect by its kind; kinds are those of `vm_effect` in effects.wgsl.
fn vm_apply(at: u32, value: u32, kind: u32) {
  switch (kind) {
    case 1u: { atomicAdd(&vm_arena[at], value); }
    case 2u: { atomicSub(&vm_arena[at], value); }
    case 3u: { atomicMin(&vm_arena[at], value); }
    case 4u: { atomicMax(&vm_arena[at], value); }
    case 5u: { atomicAnd(&vm_arena[at], value); }
    case 6u: { atomicOr(&vm_arena[at], value); }
    case 7u: { atomicXor(&vm_arena[at], value); }
    default: { atomicStore(&vm_arena[at], value); }
  }
}
