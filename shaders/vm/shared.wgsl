// Atomics on workgroup memory whose results are used: each access is an operation, which never
// waits for a page. The variables themselves are put aside when their workgroup stops, and put back
// before it is replayed; the functions for that, and one for each kind of access, are made with the
// kernel (src/gpu/vm/shared-atomics.ts).

// Their addresses in the hash of a replay: above all pages that a kernel could have.
const VM_WG_IDS: u32 = 0xffff0000u;

// What an index is made: a kernel's own name for something may be that of the type.
alias VmWord = u32;

fn vm_shared_at() -> u32 {
  return VM_SHARED_AT + vm_slot * VM_SHARED_WORDS;
}

// Whether an access may be made: one that finds no room for its result in the log stops.
fn vm_share(id: u32, words: u32) -> bool {
  var ok = vm_never == 0u;
  if (VM_LOG && !VM_UNLOGGED && words != 0u) {
    ok = ok && vm_logged + words <= vm_params.log_words;
  }
  let first = !ok && vm_never == 0u;
  vm_why = select(vm_why, VM_WHY_LOG_FULL, first);
  vm_never = select(VM_PTE_NEVER, vm_never, ok);
  vm_ok = ok;
  if (VM_LOG || VM_FORCE) { vm_count(id, ok); }
  return ok;
}
