// Effects kept back: an invocation whose effects all come last does them together, once nothing can
// stop it any more. So a stop means that nothing has happened, and nothing needs a log.

var<private> vm_kept: u32;
var<private> vm_kept_at_0: u32;
var<private> vm_kept_value_0: u32;
var<private> vm_kept_kind_0: u32;
var<private> vm_kept_at_1: u32;
var<private> vm_kept_value_1: u32;
var<private> vm_kept_kind_1: u32;
var<private> vm_kept_at_2: u32;
var<private> vm_kept_value_2: u32;
var<private> vm_kept_kind_2: u32;
var<private> vm_kept_at_3: u32;
var<private> vm_kept_value_3: u32;
var<private> vm_kept_kind_3: u32;

// Kinds: 0 store, 1 add, 2 sub, 3 min, 4 max, 5 and, 6 or, 7 xor.
fn vm_effect(at: u32, value: u32, kind: u32) {
  if (VM_DEFER == 0u) {
    if (vm_ok) { vm_apply(at, value, kind); }
  } else {
    // The newest is number 0: moving the others costs nothing where there are no loops.
    if (VM_DEFER > 3u) {
      vm_kept_at_3 = vm_kept_at_2;
      vm_kept_value_3 = vm_kept_value_2;
      vm_kept_kind_3 = vm_kept_kind_2;
    }
    if (VM_DEFER > 2u) {
      vm_kept_at_2 = vm_kept_at_1;
      vm_kept_value_2 = vm_kept_value_1;
      vm_kept_kind_2 = vm_kept_kind_1;
    }
    if (VM_DEFER > 1u) {
      vm_kept_at_1 = vm_kept_at_0;
      vm_kept_value_1 = vm_kept_value_0;
      vm_kept_kind_1 = vm_kept_kind_0;
    }
    vm_kept_at_0 = at;
    vm_kept_value_0 = value;
    vm_kept_kind_0 = kind;
    vm_kept += 1u;
  }
}

// Does them, the oldest first. Nothing stopped, so each was translated.
fn vm_commit() {
  if (VM_DEFER > 3u && vm_kept > 3u) { vm_apply(vm_kept_at_3, vm_kept_value_3, vm_kept_kind_3); }
  if (VM_DEFER > 2u && vm_kept > 2u) { vm_apply(vm_kept_at_2, vm_kept_value_2, vm_kept_kind_2); }
  if (VM_DEFER > 1u && vm_kept > 1u) { vm_apply(vm_kept_at_1, vm_kept_value_1, vm_kept_kind_1); }
  if (VM_DEFER > 0u && vm_kept > 0u) { vm_apply(vm_kept_at_0, vm_kept_value_0, vm_kept_kind_0); }
}
