// Loads, stores and prefetches. Addresses are bytes; an access lies on a multiple of its size,
// lower bits are ignored. A stopped invocation reads zeros.

fn vm_load(va: u32) -> u32 {
  var value = 0u;
  if (vm_replaying()) {
    value = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_READ, 1u);
    value = select(0u, vm_get(at), vm_ok);
    vm_remember(value);
  }
  return value;
}

fn vm_load_f32(va: u32) -> f32 {
  return bitcast<f32>(vm_load(va));
}

fn vm_load_byte(va: u32) -> u32 {
  return (vm_load(va) >> ((va & 3u) * 8u)) & 255u;
}

fn vm_load_vec4(va: u32) -> vec4u {
  var value = vec4u(0u);
  if (vm_replaying()) {
    value.x = vm_recall();
    value.y = vm_recall();
    value.z = vm_recall();
    value.w = vm_recall();
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_READ, 4u) & 0xfffffffcu;
    let there = vec4u(vm_get(at), vm_get(at + 1u), vm_get(at + 2u), vm_get(at + 3u));
    value = select(vec4u(0u), there, vm_ok);
    vm_remember(value.x);
    vm_remember(value.y);
    vm_remember(value.z);
    vm_remember(value.w);
  }
  return value;
}

fn vm_store(va: u32, value: u32) {
  if (vm_replaying()) {
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_WRITE, 0u);
    vm_effect(at, value, 0u);
  }
}

fn vm_store_f32(va: u32, value: f32) {
  vm_store(va, bitcast<u32>(value));
}

fn vm_store_vec4(va: u32, value: vec4u) {
  if (vm_replaying()) {
    vm_count(va, true);
  } else {
    let at = vm_open(va, VM_WRITE, 0u) & 0xfffffffcu;
    if (vm_ok) {
      vm_put(at, value.x);
      vm_put(at + 1u, value.y);
      vm_put(at + 2u, value.z);
      vm_put(at + 3u, value.w);
    }
  }
}

fn vm_prefetch(va: u32) {
  vm_hint(va, VM_READ, VM_PREFETCH);
}

fn vm_prefetch_write(va: u32) {
  vm_hint(va, VM_WRITE, VM_PREFETCH_WRITE);
}

// A hint is no operation: it never stops, and a replay gives it again only past the place where it
// stopped.
fn vm_hint(va: u32, need: u32, access: u32) {
  if (vm_replaying() || vm_never != 0u) { return; }
  let entry = vm_entry(va);
  if ((entry & (1u << need)) != 0u) { return; }
  let held = (entry & VM_PTE_PERMISSIONS) != 0u;
  let kind = select(VM_FAULT_ABSENT, VM_FAULT_PERMISSION, held);
  vm_post(va, access, kind, vm_group, vm_lane, vm_done);
}
