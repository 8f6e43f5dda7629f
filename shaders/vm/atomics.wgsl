// Atomic operations. `vm_atomic_*` give the old value, which is logged; `vm_reduce_*` give nothing,
// so they can be kept back like stores.

fn vm_atomic_add(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicAdd(&vm_arena[at], value));
}

fn vm_atomic_sub(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicSub(&vm_arena[at], value));
}

fn vm_atomic_min(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicMin(&vm_arena[at], value));
}

fn vm_atomic_max(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicMax(&vm_arena[at], value));
}

fn vm_atomic_and(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicAnd(&vm_arena[at], value));
}

fn vm_atomic_or(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicOr(&vm_arena[at], value));
}

fn vm_atomic_xor(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicXor(&vm_arena[at], value));
}

fn vm_atomic_exchange(va: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(atomicExchange(&vm_arena[at], value));
}

// The weak exchange may fail without cause: it counts once it did exchange or found another value.
fn vm_atomic_cas(va: u32, compare: u32, value: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_ATOMIC, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  var old = compare;
  loop {
    let seen = atomicCompareExchangeWeak(&vm_arena[at], compare, value);
    old = seen.old_value;
    if (seen.exchanged || old != compare) { break; }
  }
  return vm_remember(old);
}

fn vm_reduce(va: u32, value: u32, kind: u32) {
  if (vm_replaying()) {
    vm_count(va);
    return;
  }
  let at = vm_open(va, VM_ATOMIC, 0u);
  if (at != VM_NOWHERE) { vm_effect(at, value, kind); }
}

fn vm_reduce_add(va: u32, value: u32) {
  vm_reduce(va, value, 1u);
}

fn vm_reduce_sub(va: u32, value: u32) {
  vm_reduce(va, value, 2u);
}

fn vm_reduce_min(va: u32, value: u32) {
  vm_reduce(va, value, 3u);
}

fn vm_reduce_max(va: u32, value: u32) {
  vm_reduce(va, value, 4u);
}

fn vm_reduce_and(va: u32, value: u32) {
  vm_reduce(va, value, 5u);
}

fn vm_reduce_or(va: u32, value: u32) {
  vm_reduce(va, value, 6u);
}

fn vm_reduce_xor(va: u32, value: u32) {
  vm_reduce(va, value, 7u);
}

// One operation: both halves touch this byte only.
fn vm_store_byte(va: u32, value: u32) {
  if (vm_replaying()) {
    vm_count(va);
    return;
  }
  let at = vm_open(va, VM_WRITE, 0u);
  if (at == VM_NOWHERE) { return; }
  let shift = (va & 3u) * 8u;
  atomicAnd(&vm_arena[at], ~(255u << shift));
  atomicOr(&vm_arena[at], (value & 255u) << shift);
}
