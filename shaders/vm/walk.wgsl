// The software MMU: translation, stopping, the log of operations.
//
// An operation that can't go on only sets private variables, without a branch: a software adapter
// takes both sides of each branch. A stopped invocation asks for a permission that no entry has, so
// its later accesses fail like the first. What was the matter is found out once, by collect.wgsl.
//
// Constants before this text choose the variant: VM_LOG counts operations and logs their results,
// VM_UNLOGGED goes on when the log is full, after which a stop can't be made good, VM_REPLAY takes
// logged results instead of doing operations again, VM_DEFER keeps that many effects back until
// nothing can stop any more, VM_HASH compares the addresses of a replay with those before, VM_FORCE
// makes up faults, VM_USES counts the uses of some frames.

// PTE_NEVER once stopped; then why, as VM_STATE_WHY holds it.
var<private> vm_never: u32;
var<private> vm_why: u32;
// Whether the operation at hand goes on.
var<private> vm_ok: bool;
// Operations done, values logged, operations that are done since earlier passes.
var<private> vm_done: u32;
var<private> vm_logged: u32;
var<private> vm_resume: u32;
var<private> vm_log_at: u32;
var<private> vm_hash: u32;
var<private> vm_ticks: u32;
// 1 once a checkpoint was made in this pass.
var<private> vm_checked: u32;
var<private> vm_group: u32;
var<private> vm_slot: u32;
var<private> vm_lane: u32;

fn vm_arg(index: u32) -> u32 {
  return vm_params.args[(index >> 2u) & 7u][index & 3u];
}

// Translates an address to a word of the arena and sets `vm_ok`, or stops. `words` is how much the
// result will log.
fn vm_open(va: u32, access: u32, words: u32) -> u32 {
  let entry = vm_entry(va);
  let want = (1u << access) | vm_never;
  var ok = (entry & want) == want;
  if (VM_FORCE) { ok = ok && vm_done != vm_params.force_at; }
  if (VM_LOG && !VM_UNLOGGED && words != 0u) {
    ok = ok && vm_logged + words <= vm_params.log_words;
  }
  let first = !ok && vm_never == 0u;
  vm_why = select(vm_why, (va & 0xfffffffcu) | (access + 1u), first);
  vm_never = select(VM_PTE_NEVER, vm_never, ok);
  vm_ok = ok;
  if (VM_LOG || VM_FORCE) { vm_count(va, ok); }
  if (VM_USES) { vm_note_use(entry >> 8u, access, ok); }
  return select(0u, ((entry >> 8u) << 10u) | ((va >> 2u) & 1023u), ok);
}

// Frames before the first that is counted come out as large numbers.
fn vm_note_use(frame: u32, access: u32, ok: bool) {
  let index = frame - vm_params.uses_frame;
  if (ok && index < VM_USE_FRAMES) {
    atomicAdd(&vm_control[VM_USES_AT + index * VM_USE_KINDS + access], 1u);
  }
}

// One more operation is done, if it is.
fn vm_count(va: u32, ok: bool) {
  vm_done += select(0u, 1u, ok);
  if (VM_HASH) {
    vm_hash = select(vm_hash, vm_hash * 31u + va, ok);
    if (VM_REPLAY && ok && vm_done == vm_resume) { vm_compare(); }
  }
}

fn vm_compare() {
  if (vm_hash != vm_memo[vm_mine(VM_STATE_HASH)]) {
    atomicAdd(&vm_control[VM_DIVERGED], 1u);
    atomicOr(&vm_control[VM_STATUS_AT + vm_slot], VM_SLOT_DIVERGED);
  }
}

fn vm_mine(field: u32) -> u32 {
  return vm_state(vm_slot, field, vm_lane, VM_SLOTS, VM_LANES);
}

// True while operations were done in an earlier pass.
fn vm_replaying() -> bool {
  return VM_REPLAY && vm_done < vm_resume;
}

// The next word that the log holds.
fn vm_recall() -> u32 {
  let value = vm_memo[vm_log_at + vm_logged * VM_LANES];
  vm_logged += 1u;
  return value;
}

// Logs a word of a result.
fn vm_remember(value: u32) {
  if (VM_LOG) {
    let has_room = !VM_UNLOGGED || vm_logged < vm_params.log_words;
    if (vm_ok && has_room) { vm_memo[vm_log_at + vm_logged * VM_LANES] = value; }
    vm_logged += select(0u, 1u, vm_ok);
  }
}

// Head of every loop: true when it has to be left.
fn vm_tick() -> bool {
  vm_ticks += 1u;
  let over = vm_ticks > vm_params.budget && vm_never == 0u;
  vm_why = select(vm_why, VM_WHY_ENDLESS, over);
  vm_never = select(vm_never, VM_PTE_NEVER, over);
  return vm_never != 0u;
}

// Takes up an invocation; false when an earlier pass finished it.
fn vm_begin(work: vec2u, lane: u32) -> bool {
  vm_group = work.x;
  vm_slot = work.y;
  vm_lane = lane;
  vm_log_at = VM_LOGS_AT + vm_slot * vm_params.log_words * VM_LANES + lane;
  var goes = true;
  if (VM_REPLAY) {
    let state = vm_memo[vm_mine(VM_STATE_DONE)];
    vm_resume = state >> 1u;
    goes = state != 0u;
  }
  return goes;
}

// Writes down where an invocation stopped. One that stops earlier than before took another way; it
// keeps the later place, so that it does nothing twice.
fn vm_save() {
  var done = vm_done;
  if (!VM_LOG) { done = 0u; }
  if (!VM_REPLAY || done >= vm_resume) {
    vm_memo[vm_mine(VM_STATE_DONE)] = done * 2u + 1u;
    vm_memo[vm_mine(VM_STATE_LOGGED)] = vm_logged;
    if (VM_HASH) { vm_memo[vm_mine(VM_STATE_HASH)] = vm_hash; }
  }
  vm_memo[vm_mine(VM_STATE_WHY)] = vm_why;
  if (vm_checked != 0u) { atomicAdd(&vm_control[VM_CHECKED], 1u); }
  // All who stop write the same.
  vm_memo[vm_slot] = 1u;
}

// An invocation that was stopped before is finished.
fn vm_finish() {
  if (VM_REPLAY) { vm_memo[vm_mine(VM_STATE_DONE)] = 0u; }
}
