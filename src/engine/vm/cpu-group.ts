/*
 * One workgroup of the CPU engine: its invocations' places in the code, the votes at barriers, and
 * the log by which a stopped invocation goes on. The WGSL of the same is shaders/vm/walk.wgsl,
 * barrier.wgsl and main-*.wgsl.
 *
 * Locking. None. Source: our own.
 */
import type { Prng } from '../../base/prng.ts';
import {
  ACCESS_ATOMIC,
  ACCESS_PREFETCH,
  ACCESS_PREFETCH_WRITE,
  ACCESS_READ,
  ACCESS_WRITE,
  CONTROL_USE_FRAMES,
  FAULT_ABSENT,
  FAULT_FORCED,
  FAULT_PERMISSION,
  PTE_ALL,
  PTE_FRAME_SHIFT,
  PTE_KILL_READ,
  PTE_READ,
  PTE_WRITE,
  SLOT_DIVERGED,
  SLOT_ENDLESS,
  SLOT_KILLED,
  SLOT_LOG_FULL,
  SLOT_STOPPED,
  USE_KINDS,
  VM_PAGE_SHIFT,
} from './abi.ts';
import type { CpuPass, LaneRecord } from './cpu-vm.ts';
import type { LaneStep, LaneView } from './lane-code.ts';
import { applyAtomic } from './lane-code.ts';
import { REPORT_BARRIER } from './vm-engine.ts';

const NOWHERE = -1;
/** What counters have for addresses in the hash of a replay. */
const COUNTER_IDS = 0xffff0000;
/** Why an invocation stopped; from `STOP_ENDLESS` on, for good. */
const STOP_FAULT = 1;
const STOP_LOG_FULL = 2;
const STOP_ENDLESS = 3;
const STOP_KILLED = 4;
/** Most steps of one invocation in a row. */
const BURST = 6;

const floatBits = new Float32Array(1);
const wordBits = new Uint32Array(floatBits.buffer);

/** An invocation at work. */
class CpuLane implements LaneView {
  readonly vars: Float64Array;
  readonly workgroup: number;
  readonly lane: number;
  readonly args: Uint32Array;
  readonly tile: Uint32Array;
  readonly record: LaneRecord;
  place = 0;
  /** Why it stopped; 0 while it goes on. */
  stop = 0;
  /** Went through its code, or was done before. */
  ended = false;
  atBarrier = false;
  done = 0;
  logged = 0;
  resume = 0;
  hash = 0;
  ticks = 0;
  /** Made a checkpoint in this pass. */
  checked = false;
  /** Results of this attempt; a replay begins with those of the one before. */
  log: number[] = [];
  faultAt = 0;
  faultAccess = 0;
  faultType = 0;
  /** At `vm_uniform`: what it has for it, and the place of the result; -1 at other barriers. */
  shown = 0;
  shownTo = NOWHERE;
  /** The access that was reported last, as the report has it; -1 for none since a barrier. */
  reported = -1;

  constructor(pass: CpuPass, workgroup: number, lane: number, tile: Uint32Array, rec: LaneRecord) {
    this.vars = new Float64Array(pass.code.varWords);
    this.workgroup = workgroup;
    this.lane = lane;
    this.args = pass.args;
    this.tile = tile;
    this.record = rec;
  }

  blocked(): boolean {
    return this.ended || this.stop !== 0 || this.atBarrier;
  }
}

/** A workgroup at work. */
export class CpuGroup {
  private readonly pass: CpuPass;
  private readonly workgroup: number;
  private readonly slot: number;
  private readonly replay: boolean;
  private readonly lanes: CpuLane[];
  private readonly meets: boolean;
  private readonly counters: Uint32Array;
  private settled = false;

  constructor(
    pass: CpuPass,
    workgroup: number,
    slot: number,
    records: readonly LaneRecord[],
    replay: boolean,
  ) {
    this.pass = pass;
    this.workgroup = workgroup;
    this.slot = slot;
    this.replay = replay;
    const { steps, counters } = pass.code;
    this.meets = counters > 0 || steps.some(({ kind }) => kind === 'barrier' || kind === 'uniform');
    this.counters = new Uint32Array(counters);
    if (replay) this.counters.set(records[0]!.counters ?? []);
    const tile = new Uint32Array(pass.code.sharedWords);
    this.lanes = records.map((rec, lane) => this.begin(workgroup, lane, tile, rec));
  }

  /** Whether any invocation can go on. */
  runnable(): boolean {
    return !this.settled;
  }

  /** Lets one invocation go on for a few steps. */
  step(prng: Prng): void {
    const { lanes } = this;
    // From a random place to the next one that can go on, so that a turn costs few draws.
    const from = prng.below(lanes.length);
    for (let offset = 0; offset < lanes.length; offset++) {
      const lane = lanes[(from + offset) % lanes.length]!;
      if (lane.blocked()) continue;
      const burst = 1 + prng.below(BURST);
      for (let count = 0; count < burst && !lane.blocked(); count++) this.advance(lane);
      return;
    }
    this.meet();
  }

  private begin(workgroup: number, index: number, tile: Uint32Array, rec: LaneRecord): CpuLane {
    const lane = new CpuLane(this.pass, workgroup, index, tile, rec);
    if (!this.replay) return lane;
    if (!rec.stopped) lane.ended = true;
    lane.resume = rec.done;
    lane.log = rec.log.slice();
    return lane;
  }

  /** All wait: a barrier lets all go on, or leave if anyone stopped; at the end all settle. */
  private meet(): void {
    const left = this.lanes.some((lane) => lane.stop !== 0);
    const waiting = this.lanes.filter((lane) => lane.atBarrier);
    if (waiting.length > 0 && !left) {
      const { shown } = waiting[0]!;
      for (const lane of waiting) {
        if (lane.shownTo !== NOWHERE) lane.vars[lane.shownTo] = shown;
        lane.atBarrier = false;
        lane.reported = -1;
        this.pass.accesses?.push(this.workgroup, lane.lane, REPORT_BARRIER);
      }
      return;
    }
    this.settled = true;
    const logs = this.pass.options.guard !== 'none';
    this.lanes[0]!.record.counters = logs ? this.counters : null;
    const ended = this.lanes.some((lane) => lane.stop >= STOP_ENDLESS);
    for (const lane of this.lanes) {
      this.report(lane);
      const goesOn = this.meets ? left && !ended : lane.stop !== 0 && lane.stop < STOP_ENDLESS;
      if (goesOn) this.save(lane);
      else lane.record.stopped = false;
    }
  }

  private save(lane: CpuLane): void {
    const { record } = lane;
    const logs = this.pass.options.guard !== 'none';
    const done = logs ? lane.done : 0;
    // One that stops earlier than before took another way; it must do nothing twice all the same.
    const before = this.replay && record.stopped ? record.done : 0;
    if (done >= before) {
      record.done = done;
      record.log = lane.log.slice(0, lane.logged);
      record.hash = lane.hash;
    }
    record.stopped = true;
    if (logs && lane.logged > this.pass.logWords) this.mark(SLOT_LOG_FULL);
    this.pass.stopped += 1;
    this.pass.progress += record.done;
    if (lane.checked) this.pass.checked += 1;
    this.mark(SLOT_STOPPED);
  }

  private report(lane: CpuLane): void {
    if (lane.stop === STOP_FAULT) this.post(lane, lane.faultAt, lane.faultAccess, lane.faultType);
    if (lane.stop === STOP_LOG_FULL) this.mark(SLOT_LOG_FULL);
    if (lane.stop === STOP_ENDLESS) this.mark(SLOT_ENDLESS);
    if (lane.stop === STOP_KILLED) {
      this.pass.killed += 1;
      this.mark(SLOT_KILLED);
    }
  }

  private mark(bit: number): void {
    this.pass.status[this.slot] = this.pass.status[this.slot]! | bit;
  }

  private post(lane: CpuLane, address: number, access: number, type: number): void {
    const { pass } = this;
    const writes = access === ACCESS_READ || access === ACCESS_PREFETCH ? 0 : 1;
    const key = (address >>> 12) * 2 + writes;
    if (pass.options.dedup !== false) {
      if (pass.reported.has(key)) return;
      pass.reported.add(key);
    }
    pass.faults += 1;
    const { context } = pass.space;
    pass.records.push(address, access, type, context, this.workgroup, lane.lane, lane.done, 0);
  }

  private advance(lane: CpuLane): void {
    const { steps } = this.pass.code;
    const step = steps[lane.place];
    if (step === undefined) {
      lane.ended = true;
      return;
    }
    lane.place += 1;
    switch (step.kind) {
      case 'set':
        lane.vars[step.slot] = step.value(lane);
        return;
      case 'pack':
        // Parts may read the variable that they make.
        lane.vars.set(
          step.parts.map((part) => part(lane)),
          step.slot,
        );
        return;
      case 'restore':
        this.restore(lane, step);
        return;
      case 'checkpoint':
        this.checkpoint(lane, step.slot);
        return;
      case 'unless':
        if (step.c(lane) === 0) lane.place = step.to;
        return;
      case 'jump':
        lane.place = step.to;
        return;
      case 'tick':
        lane.ticks += 1;
        if (lane.ticks > this.pass.budget) lane.stop = STOP_ENDLESS;
        return;
      case 'uniform':
        lane.shown = step.value(lane);
        lane.shownTo = step.slot;
        lane.atBarrier = true;
        return;
      case 'barrier':
        lane.shownTo = NOWHERE;
        lane.atBarrier = true;
        return;
      case 'count':
        this.draw(lane, step);
        return;
      case 'share': {
        const index = step.index(lane);
        const before = step.add ? lane.tile[index]! : 0;
        lane.tile[index] = before + step.value(lane);
        return;
      }
      case 'prefetch':
        this.hint(lane, step.at(lane), step.write);
        return;
      case 'load':
      case 'store':
      case 'atomic':
        this.operate(lane, step);
    }
  }

  private restore(lane: CpuLane, step: Extract<LaneStep, { kind: 'restore' }>): void {
    const { record } = lane;
    // The record may have been that of another workgroup.
    if (!this.replay) record.checkpoint = null;
    if (record.checkpoint !== null) lane.ticks = record.ticks;
    lane.vars.set(record.checkpoint ?? step.parts.map((part) => part(lane)), step.slot);
  }

  /** A replay can't meet one that it has passed: it begins behind the last. */
  private checkpoint(lane: CpuLane, slot: number): void {
    if (lane.done < lane.resume) return;
    const { record } = lane;
    record.checkpoint = lane.vars.slice(slot, slot + 4);
    record.ticks = lane.ticks;
    record.done = 0;
    record.log = [];
    record.hash = 0;
    lane.done = 0;
    lane.logged = 0;
    lane.resume = 0;
    lane.hash = 0;
    lane.checked = true;
  }

  /** An operation on a counter: recalled, or done unless its result finds no room in the log. */
  private draw(lane: CpuLane, step: Extract<LaneStep, { kind: 'count' }>): void {
    const { pass, counters } = this;
    const index = step.index(lane);
    const isUsed = step.slot >= 0;
    const recalled = lane.done < lane.resume;
    const hasRoom = lane.logged < pass.logWords || pass.unlogged || pass.options.guard === 'none';
    if (isUsed && !recalled && !hasRoom) {
      lane.stop = STOP_LOG_FULL;
      return;
    }
    const old = recalled && isUsed ? lane.log[lane.logged]! : counters[index]!;
    if (!recalled)
      counters[index] = applyAtomic(step.op, old, step.value(lane), step.compare(lane));
    this.count(lane, COUNTER_IDS + index);
    if (!isUsed) return;
    lane.log[lane.logged] = old;
    lane.logged += 1;
    lane.vars[step.slot] = old;
  }

  private hint(lane: CpuLane, address: number, write: boolean): void {
    if (lane.done < lane.resume) return;
    const kind = write ? ACCESS_PREFETCH_WRITE : ACCESS_PREFETCH;
    this.pass.accesses?.push(this.workgroup, lane.lane, (address >>> VM_PAGE_SHIFT) * 8 + kind);
    const entry = this.pass.space.entryOf(address);
    if ((entry & (write ? PTE_WRITE : PTE_READ)) !== 0) return;
    const type = (entry & PTE_ALL) === 0 ? FAULT_ABSENT : FAULT_PERMISSION;
    this.post(lane, address, kind, type);
  }

  /** An operation on memory: recalled, done, or the place where the invocation stops. */
  private operate(
    lane: CpuLane,
    step: Extract<LaneStep, { kind: 'load' | 'store' | 'atomic' }>,
  ): void {
    const address = step.at(lane);
    const words = wordsLogged(step);
    let word = NOWHERE;
    const recalled = lane.done < lane.resume;
    if (!recalled) {
      word = this.open(lane, address, accessOf(step), words);
      if (word === NOWHERE) return;
      this.reportAccess(lane, address, accessOf(step));
    }
    this.count(lane, address);
    if (step.kind === 'store') {
      if (!recalled) this.store(lane, step, address, word);
      return;
    }
    const first = words === 4 ? word & ~3 : word;
    for (let index = 0; index < Math.max(1, words); index++) {
      const value = recalled ? lane.log[lane.logged]! : this.pass.memory[first + index]!;
      if (step.kind === 'atomic' && !recalled) {
        const after = applyAtomic(step.op, value, step.value(lane), step.compare(lane));
        this.pass.memory[word] = after;
      }
      if (words === 0) return;
      lane.log[lane.logged] = value;
      lane.logged += 1;
      lane.vars[step.slot + index] = step.kind === 'load' ? shape(value, step, address) : value;
    }
  }

  private reportAccess(lane: CpuLane, address: number, access: number): void {
    const { accesses } = this.pass;
    const what = (address >>> VM_PAGE_SHIFT) * 8 + access;
    if (accesses === undefined || what === lane.reported) return;
    lane.reported = what;
    accesses.push(this.workgroup, lane.lane, what);
  }

  private store(
    lane: CpuLane,
    step: Extract<LaneStep, { kind: 'store' }>,
    address: number,
    word: number,
  ): void {
    const { memory } = this.pass;
    if (step.width === 'vec4') {
      const first = word & ~3;
      for (let index = 0; index < 4; index++) {
        memory[first + index] = lane.vars[step.slot + index]!;
      }
      return;
    }
    const value = step.value(lane);
    if (step.width === 'byte') {
      const shift = (address & 3) * 8;
      memory[word] = (memory[word]! & ~(0xff << shift)) | ((value & 0xff) << shift);
    } else if (step.width === 'f32') {
      floatBits[0] = value;
      memory[word] = wordBits[0]!;
    } else {
      memory[word] = value;
    }
  }

  private open(lane: CpuLane, address: number, access: number, words: number): number {
    const { pass } = this;
    const entry = pass.space.entryOf(address);
    if ((entry & (1 << access)) === 0) {
      if ((entry & (PTE_KILL_READ << access)) !== 0) {
        lane.stop = STOP_KILLED;
        return NOWHERE;
      }
      const type = (entry & PTE_ALL) === 0 ? FAULT_ABSENT : FAULT_PERMISSION;
      return this.fault(lane, address, access, type);
    }
    if (!this.replay && lane.done === pass.forceAt) {
      return this.fault(lane, address, access, FAULT_FORCED);
    }
    const hasRoom = lane.logged + words <= pass.logWords || pass.unlogged;
    if (words > 0 && !hasRoom && pass.options.guard !== 'none') {
      lane.stop = STOP_LOG_FULL;
      return NOWHERE;
    }
    const frame = entry >>> PTE_FRAME_SHIFT;
    if (pass.uses !== null) this.noteUse(frame - pass.usesFrame, access);
    return frame * 1024 + ((address >>> 2) & 1023);
  }

  private noteUse(index: number, access: number): void {
    const { uses } = this.pass;
    if (uses === null || index < 0 || index >= CONTROL_USE_FRAMES) return;
    const at = index * USE_KINDS + access;
    uses[at] = uses[at]! + 1;
  }

  private fault(lane: CpuLane, address: number, access: number, type: number): number {
    lane.stop = STOP_FAULT;
    lane.faultAt = address;
    lane.faultAccess = access;
    lane.faultType = type;
    return NOWHERE;
  }

  private count(lane: CpuLane, address: number): void {
    lane.done += 1;
    if (this.pass.options.hash !== true) return;
    lane.hash = (Math.imul(lane.hash, 31) + address) >>> 0;
    if (lane.done === lane.resume && lane.hash !== lane.record.hash) {
      this.pass.diverged += 1;
      this.mark(SLOT_DIVERGED);
    }
  }
}

function accessOf(step: Extract<LaneStep, { kind: 'load' | 'store' | 'atomic' }>): number {
  if (step.kind === 'load') return ACCESS_READ;
  return step.kind === 'store' ? ACCESS_WRITE : ACCESS_ATOMIC;
}

function wordsLogged(step: Extract<LaneStep, { kind: 'load' | 'store' | 'atomic' }>): number {
  if (step.kind === 'load') return step.width === 'vec4' ? 4 : 1;
  return step.kind === 'atomic' && step.slot >= 0 ? 1 : 0;
}

/** A loaded word as its variable holds it. */
function shape(value: number, step: Extract<LaneStep, { kind: 'load' }>, address: number): number {
  if (step.width === 'byte') return (value >>> ((address & 3) * 8)) & 0xff;
  if (step.width !== 'f32') return value;
  wordBits[0] = value;
  return floatBits[0]!;
}
