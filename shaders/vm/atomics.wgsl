// Atomic operations. `vm_atomic_*` give the old value, which is logged; `vm_reduce_*` give nothing,
// so they can be kept back like stores.

fn vm_atomic_add(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicAdd(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_sub(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicSub(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_min(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicMin(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_max(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicMax(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_and(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicAnd(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_or(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicOr(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_xor(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicXor(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

fn vm_atomic_exchange(va: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    if (vm_ok) { old = atomicExchange(&vm_arena[at], value); }
    vm_remember(old);
  }
  return old;
}

// The weak exchange may fail without cause: it counts once it did exchange or found another value.
fn vm_atomic_cas(va: u32, compare: u32, value: u32) -> u32 {
  var old = 0u;
  if (vm_replaying()) {
    old = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 1u);
    var settled = !vm_ok;
    loop {
      if (settled) { break; }
      let seen = atomicCompareExchangeWeak(&vm_arena[at], compare, value);
      old = seen.old_value;
      settled = seen.exchanged || old != compare;
    }
    vm_remember(old);
  }
  return old;
}

fn vm_reduce(va: u32, value: u32, kind: u32) {
  if (vm_replaying()) {
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_ATOMIC, 0u);
    vm_effect(at, value, kind);
  }
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
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_WRITE, 0u);
    let shift = (va & 3u) * 8u;
    if (vm_ok) {
      atomicAnd(&vm_arena[at], ~(255u << shift));
      atomicOr(&vm_arena[at], (value & 255u) << shift);
    }
  }
}
