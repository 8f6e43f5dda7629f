// Loads, stores and prefetches. Addresses are bytes; an access lies on a multiple of its size,
// lower bits are ignored.

fn vm_load(va: u32) -> u32 {
  if (vm_replaying()) { return vm_recall(va); }
  let at = vm_open(va, VM_READ, 1u);
  if (at == VM_NOWHERE) { return 0u; }
  return vm_remember(vm_get(at));
}

fn vm_load_f32(va: u32) -> f32 {
  return bitcast<f32>(vm_load(va));
}

fn vm_load_byte(va: u32) -> u32 {
  return (vm_load(va) >> ((va & 3u) * 8u)) & 255u;
}

fn vm_load_vec4(va: u32) -> vec4u {
  if (vm_replaying()) {
    vm_count(va);
    let x = vm_recall_word();
    let y = vm_recall_word();
    let z = vm_recall_word();
    return vec4u(x, y, z, vm_recall_word());
  }
  let open = vm_open(va, VM_READ, 4u);
  if (open == VM_NOWHERE) { return vec4u(0u); }
  let at = open & 0xfffffffcu;
  let x = vm_remember(vm_get(at));
  let y = vm_remember(vm_get(at + 1u));
  let z = vm_remember(vm_get(at + 2u));
  return vec4u(x, y, z, vm_remember(vm_get(at + 3u)));
}

fn vm_store(va: u32, value: u32) {
  if (vm_replaying()) {
    vm_count(va);
    return;
  }
  let at = vm_open(va, VM_WRITE, 0u);
  if (at != VM_NOWHERE) { vm_effect(at, value, 0u); }
}

fn vm_store_f32(va: u32, value: f32) {
  vm_store(va, bitcast<u32>(value));
}

fn vm_store_vec4(va: u32, value: vec4u) {
  if (vm_replaying()) {
    vm_count(va);
    return;
  }
  let open = vm_open(va, VM_WRITE, 0u);
  if (open == VM_NOWHERE) { return; }
  let at = open & 0xfffffffcu;
  vm_put(at, value.x);
  vm_put(at + 1u, value.y);
  vm_put(at + 2u, value.z);
  vm_put(at + 3u, value.w);
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
  if (vm_replaying() || vm_stop != 0u) { return; }
  let entry = vm_entry(va);
  if ((entry & (1u << need)) != 0u) { return; }
  let held = (entry & VM_PTE_PERMISSIONS) != 0u;
  vm_post(va, access, select(VM_FAULT_ABSENT, VM_FAULT_PERMISSION, held));
}
