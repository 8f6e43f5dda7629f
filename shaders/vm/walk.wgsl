// The software MMU: translation, stopping, fault records, the log of operations.
//
// An operation that can't go on only sets private variables; whoever ends the kernel (main-*.wgsl)
// writes the record. A stopped invocation asks for a permission that no entry has, so all its later
// accesses fail without a check of their own.
//
// Constants before this text choose the variant: VM_LOG counts operations and logs their results,
// VM_REPLAY takes logged results instead of doing operations again, VM_DEFER keeps that many
// effects back until nothing can stop any more, VM_HASH compares the addresses of a replay with
// those before, VM_DEDUP reports a page once a pass, VM_FORCE makes up faults.

@group(0) @binding(1) var<storage, read> vm_table: array<u32>;
@group(0) @binding(2) var<storage, read_write> vm_control: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> vm_memo: array<u32>;
@group(0) @binding(4) var<storage, read> vm_work: array<vec2u>;
@group(0) @binding(5) var<uniform> vm_params: VmParams;

var<private> vm_never: u32;
var<private> vm_stop: u32;
var<private> vm_fault_at: u32;
var<private> vm_fault_access: u32;
var<private> vm_fault_type: u32;
// Operations done, values logged, operations that are done since earlier passes.
var<private> vm_done: u32;
var<private> vm_logged: u32;
var<private> vm_resume: u32;
var<private> vm_log_at: u32;
var<private> vm_hash: u32;
var<private> vm_ticks: u32;
var<private> vm_group: u32;
var<private> vm_slot: u32;
var<private> vm_lane: u32;

fn vm_arg(index: u32) -> u32 {
  return vm_params.args[(index >> 2u) & 7u][index & 3u];
}

fn vm_entry(va: u32) -> u32 {
  let directory = vm_table[va >> 21u];
  let page = (va >> 12u) & 511u;
  if ((directory & VM_PTE_BLOCK) != 0u) { return directory + (page << 8u); }
  return vm_table[(directory >> 8u) + page];
}

// Translates an address to a word of the arena, or stops. `words` is how much the result will log.
fn vm_open(va: u32, access: u32, words: u32) -> u32 {
  let entry = vm_entry(va);
  let want = (1u << access) | vm_never;
  if ((entry & want) != want) {
    vm_miss(va, access, entry);
    return VM_NOWHERE;
  }
  if (VM_FORCE) {
    if (vm_done == vm_params.force_at) {
      vm_halt(VM_STOP_FAULT);
      vm_fault_at = va;
      vm_fault_access = access;
      vm_fault_type = VM_FAULT_FORCED;
      return VM_NOWHERE;
    }
  }
  if (VM_LOG) {
    if (words != 0u && vm_logged + words > vm_params.log_words) {
      vm_halt(VM_STOP_LOG_FULL);
      return VM_NOWHERE;
    }
    vm_count(va);
  } else if (VM_FORCE) {
    vm_done += 1u;
  }
  return ((entry >> 8u) << 10u) | ((va >> 2u) & 1023u);
}

fn vm_miss(va: u32, access: u32, entry: u32) {
  if (vm_stop != 0u) { return; }
  if ((entry & (1u << (access + VM_PTE_KILLS))) != 0u) {
    vm_halt(VM_STOP_KILLED);
    return;
  }
  vm_halt(VM_STOP_FAULT);
  vm_fault_at = va;
  vm_fault_access = access;
  vm_fault_type = select(VM_FAULT_ABSENT, VM_FAULT_PERMISSION, (entry & VM_PTE_PERMISSIONS) != 0u);
}

fn vm_halt(reason: u32) {
  vm_stop = reason;
  vm_never = VM_PTE_NEVER;
  vm_resume = 0u;
}

// One more operation is done.
fn vm_count(va: u32) {
  vm_done += 1u;
  if (VM_HASH) {
    vm_hash = vm_hash * 31u + va;
    if (VM_REPLAY && vm_done == vm_resume) { vm_compare(); }
  }
}

fn vm_compare() {
  if (vm_hash == vm_memo[vm_state_at(2u)]) { return; }
  atomicAdd(&vm_control[VM_DIVERGED], 1u);
  atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_DIVERGED);
}

fn vm_state_at(field: u32) -> u32 {
  return (vm_slot * VM_STATE_WORDS + field) * VM_LANES + vm_lane;
}

// True while operations were done in an earlier pass.
fn vm_replaying() -> bool {
  return VM_REPLAY && vm_done < vm_resume;
}

// The result that the operation had.
fn vm_recall(va: u32) -> u32 {
  vm_count(va);
  return vm_recall_word();
}

fn vm_recall_word() -> u32 {
  let value = vm_memo[vm_log_at + vm_logged * VM_LANES];
  vm_logged += 1u;
  return value;
}

fn vm_remember(value: u32) -> u32 {
  if (VM_LOG) {
    vm_memo[vm_log_at + vm_logged * VM_LANES] = value;
    vm_logged += 1u;
  }
  return value;
}

// Head of every loop: true when it has to be left.
fn vm_tick() -> bool {
  vm_ticks += 1u;
  if (vm_ticks > vm_params.budget && vm_stop == 0u) { vm_halt(VM_STOP_ENDLESS); }
  return vm_stop != 0u;
}

fn vm_post(va: u32, access: u32, kind: u32) {
  if (VM_DEDUP) {
    let page = va >> 12u;
    let writes = select(0u, 1u, access != VM_READ && access != VM_PREFETCH);
    let bit = 1u << ((page & 15u) * 2u + writes);
    let before = atomicOr(&vm_control[VM_PENDING_AT + (page >> 4u)], bit);
    if ((before & bit) != 0u) { return; }
  }
  let place = atomicAdd(&vm_control[VM_FAULTS], 1u);
  if (place >= VM_RING_RECORDS) { return; }
  let at = VM_RING_AT + place * VM_FAULT_WORDS;
  atomicStore(&vm_control[at], va);
  atomicStore(&vm_control[at + 1u], access);
  atomicStore(&vm_control[at + 2u], kind);
  atomicStore(&vm_control[at + 3u], vm_params.context);
  atomicStore(&vm_control[at + 4u], vm_group);
  atomicStore(&vm_control[at + 5u], vm_lane);
  atomicStore(&vm_control[at + 6u], vm_done);
}

// Takes up an invocation; false when an earlier pass finished it.
fn vm_begin(work: vec2u, lane: u32) -> bool {
  vm_group = work.x;
  vm_slot = work.y;
  vm_lane = lane;
  vm_log_at = VM_LOGS_AT + vm_slot * vm_params.log_words * VM_LANES + lane;
  if (!VM_REPLAY) { return true; }
  let state = vm_memo[vm_state_at(0u)];
  vm_resume = state >> 1u;
  return state != 0u;
}

// Writes down where an invocation stopped. One that stops earlier than before, because another one
// of its workgroup did, keeps the later place.
fn vm_save() {
  var done = vm_done;
  if (!VM_LOG) { done = 0u; }
  var keep = false;
  if (VM_REPLAY) {
    let before = vm_memo[vm_state_at(0u)] >> 1u;
    keep = done < before;
    done = max(done, before);
  }
  if (!keep) {
    vm_memo[vm_state_at(0u)] = done * 2u + 1u;
    vm_memo[vm_state_at(1u)] = vm_logged;
    vm_memo[vm_state_at(2u)] = vm_hash;
  }
  atomicAdd(&vm_control[VM_STOPPED], 1u);
  atomicAdd(&vm_control[VM_PROGRESS], done);
  atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_STOPPED);
}

// Reports why an invocation stopped itself.
fn vm_report() {
  switch (vm_stop) {
    case VM_STOP_FAULT: {
      vm_post(vm_fault_at, vm_fault_access, vm_fault_type);
    }
    case VM_STOP_LOG_FULL: {
      atomicAdd(&vm_control[VM_LOG_FULL], 1u);
      atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_LOG_FULL);
    }
    case VM_STOP_ENDLESS: {
      atomicAdd(&vm_control[VM_ENDLESS], 1u);
      atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_ENDLESS);
    }
    case VM_STOP_KILLED: {
      atomicAdd(&vm_control[VM_KILLED], 1u);
      atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_KILLED);
    }
    default: {}
  }
}
