/**
 * CPU cores as the kernel has them: slots, the doorbell, and answers to traps. A core belongs to
 * one process; its thread is started, ended and proven dead by the host (the thread that holds the
 * machine), which the kernel asks through a port, so that it is heard even while the kernel blocks.
 */
import { errno, isErr } from '../base/errno.ts';
import { isPending } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { atomicsOf } from '../cpu/atomics-port.ts';
import type { AtomicsPort } from '../cpu/atomics-port.ts';
import { CORE_DEAD, CORE_FAULT_KIND, ControlMap, MAX_CORES } from '../cpu/control.ts';
import type { CoreImage } from '../cpu/core.ts';
import { listenToPort, listenToWord } from '../cpu/doorbell.ts';
import type { DoorbellListener } from '../cpu/doorbell.ts';
import { FAULT_MAJOR, FAULT_MINOR, FAULT_PROTECTION, FaultLatency } from '../cpu/fault-latency.ts';
import {
  RECORD_FAULT,
  RECORD_PREFETCH,
  RECORD_SYSCALL,
  clearRing,
  newRecord,
  popRecord,
} from '../cpu/fault-ring.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import { readLetter, writeLetter } from '../cpu/letter.ts';
import { claimCore, coreState, releaseCore, signalCore } from '../cpu/shootdown.ts';
import { SIGKILL } from '../cpu/signals.ts';
import { answerTrap, hasTrapped } from '../cpu/trap.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import { PTE_PRESENT, PTE_YOUNG } from '../mm/swapops.ts';
import { addTlbListener, removeTlbListener } from '../mm/tlb.ts';
import { FAULT_OK, accessiblePage, faultInUser } from '../mm/uaccess.ts';
import { CoreSet, LIMIT_MS, MOST_AT_ONCE_MS, silence } from './core-set.ts';
import type { FlushTarget } from './core-set.ts';
import { PrefetchQueue } from './kernel-prefetch.ts';
import { Later } from './later.ts';
import type { HostRequest } from './protocol-cores.ts';

/** Records of a core's ring: a core waits for its traps, so nearly all are hints. */
const RING_CAPACITY = 16;
/** How long a call that can't fail asks running cores, before it lets others run meanwhile. */
const ASK_MS = 0.05;
/** Records of a core that are answered in a row, before others get their turn. */
const DRAIN_RECORDS = 8;

interface KernelCore extends FlushTarget {
  /** Differs from that of every other core since boot, which slots don't. */
  readonly serial: number;
  readonly pid: number;
  readonly mm: MmStruct;
  /** It was told to end: nothing is done for it any more. */
  isEnding: boolean;
  readonly bell: MessagePort | null;
  /** Resolves when the core is dead. */
  readonly ended: Promise<void>;
  readonly markEnded: () => void;
}

/** Makes a system call of a process: a name and arguments, the result as data. */
export type Syscall = (pid: number, call: string, args: readonly unknown[]) => Promise<unknown>;

/** Through what the kernel and its cores talk. */
export interface CoreWiring {
  readonly port: AtomicsPort;
  readonly map: ControlMap;
}

function newWiring(): CoreWiring {
  return { port: atomicsOf(() => performance.now()), map: ControlMap.create(RING_CAPACITY) };
}

export class KernelCores {
  readonly map: ControlMap;
  private readonly sys: System;
  private readonly syscall: Syscall;
  private readonly port: AtomicsPort;
  private readonly cores: (KernelCore | null)[] = Array.from({ length: MAX_CORES }, () => null);
  private readonly sets = new Map<MmStruct, CoreSet>();
  /** How long faults take. */
  readonly latency = new FaultLatency();
  private readonly prefetches: PrefetchQueue;
  private readonly record = newRecord();
  /** Processes that programs have forked, whose cores the host will ask for; by whom. */
  private readonly expected = new Map<number, KernelCore>();
  private later: Later | null = null;
  private forks = 0;
  private lastSerial = 0;
  private host: MessagePort | null = null;
  private listener: DoorbellListener | null = null;

  constructor(
    sys: System,
    syscall: Syscall,
    wiring: CoreWiring = newWiring(),
    devices: readonly DmirrorDevice[] = [],
  ) {
    this.prefetches = new PrefetchQueue(sys, devices);
    this.sys = sys;
    this.syscall = syscall;
    this.port = wiring.port;
    this.map = wiring.map;
  }

  /** See CoreApi. */
  attachHost(port: MessagePort): number {
    if (typeof (port as Partial<MessagePort> | null)?.postMessage !== 'function') {
      return errno.EINVAL;
    }
    this.host = port;
    return 0;
  }

  /** See CoreApi. */
  start(pid: number, mm: MmStruct, bell: MessagePort | null): CoreImage | number {
    if (this.host === null) return errno.EOPNOTSUPP;
    const isExpected = this.expected.delete(pid);
    if (!isExpected && !this.hasRoom()) return errno.EAGAIN;
    const slot = this.cores.indexOf(null);
    if (slot < 0) return errno.EAGAIN;
    const block = this.map.block(slot);
    this.sys.pageTables.isShared = true;
    claimCore(this.port, this.map.words, block);
    let markEnded: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (markEnded = resolve));
    const serial = (this.lastSerial += 1);
    const target = { slot, block, request: 0, isSilent: false };
    const core = { ...target, serial, pid, mm, isEnding: false, bell, ended, markEnded };
    this.cores[slot] = core;
    this.setOf(mm).cores.push(core);
    this.later ??= new Later(() => this.drain());
    if (bell === null)
      this.listener ??= listenToWord(
        this.map.words,
        () => this.drain(),
        (work) => new Later(work),
        () => this.port.nowMs(),
      );
    else listenToPort(bell, this.map.words, block, () => this.drain());
    return {
      slot,
      serial,
      ram: this.sys.ram.buffer,
      pageTables: this.sys.pageTables.words.buffer,
      control: this.map.words.buffer,
      ringCapacity: this.map.ringCapacity,
      latency: this.latency.numbers.buffer,
      pgd: mm.pgd,
    };
  }

  /** See CoreApi. */
  signal(slot: number, signal: number): number {
    const core = this.coreAt(slot);
    if (core === null || !(signal > 0 && signal < 32)) return errno.EINVAL;
    core.isEnding = true;
    signalCore(this.port, this.map.words, core.block, signal);
    // Whatever it waits for, it does not get any more.
    if (hasTrapped(this.port, this.map.words, core.block)) this.answer(core, FAULT_OK);
    return 0;
  }

  /** See CoreApi. */
  end(slot: number): number {
    const core = this.coreAt(slot);
    if (core === null) return errno.EINVAL;
    if (coreState(this.port, this.map.words, core.block) !== CORE_DEAD) return errno.EBUSY;
    const set = this.setOf(core.mm);
    set.cores.splice(set.cores.indexOf(core), 1);
    if (set.cores.length === 0) {
      removeTlbListener(core.mm, set);
      this.sets.delete(core.mm);
      this.prefetches.forget(core.mm);
    }
    core.bell?.close();
    releaseCore(this.port, this.map.words, core.block);
    clearRing(this.port, this.map, slot);
    this.cores[slot] = null;
    this.endOrphans(core);
    core.markEnded();
    return 0;
  }

  /**
   * Lets a call that reduces permissions and can't fail begin: all cores of the address space have
   * been heard of, or are dead. Context: nothing held; waits.
   */
  settle(mm: MmStruct): MaybePromise<void> {
    const set = this.sets.get(mm);
    if (set === undefined) return undefined;
    const silent = set.findSilent(ASK_MS);
    return silent.length === 0 ? undefined : this.awaitSilent(set, silent);
  }

  /** Ends all cores of a process, and waits until they are dead. */
  async endAll(pid: number): Promise<void> {
    this.expected.delete(pid);
    const own = this.cores.filter((core) => core?.pid === pid) as KernelCore[];
    for (const core of own) {
      this.signal(core.slot, SIGKILL);
      this.condemn(core, 'its process has ended');
    }
    await Promise.all(own.map(({ ended }) => ended));
  }

  /** Stops listening. */
  close(): void {
    this.listener?.close();
    this.later?.close();
    this.host?.close();
  }

  private coreAt(slot: number): KernelCore | null {
    // Callers without types may pass anything.
    return typeof slot === 'number' ? (this.cores[slot] ?? null) : null;
  }

  /** The core itself, as long as its slot is not free, or another's. */
  private current(core: FlushTarget): KernelCore | null {
    const own = this.coreAt(core.slot);
    return own === core ? own : null;
  }

  private setOf(mm: MmStruct): CoreSet {
    let set = this.sets.get(mm);
    if (set === undefined) {
      set = new CoreSet(this.port, this.map, (core, why) => this.condemn(core, why));
      this.sets.set(mm, set);
      addTlbListener(mm, set);
    }
    return set;
  }

  private condemn(core: FlushTarget, why: string): void {
    const own = this.current(core);
    if (own === null) return;
    const request: HostRequest = { end: own.serial, why };
    this.host?.postMessage(request);
  }

  /** True when one more core can be had. */
  private hasRoom(): boolean {
    const taken = this.cores.reduce((count, core) => count + (core === null ? 0 : 1), 0);
    return taken + this.forks + this.expected.size < MAX_CORES;
  }

  /** Some cores are busy without touching memory: others may run while they get their second. */
  private async awaitSilent(set: CoreSet, silent: FlushTarget[]): Promise<void> {
    let last = this.port.nowMs();
    let spent = 0;
    let left = silent;
    while (left.length > 0 && spent < LIMIT_MS) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const now = this.port.nowMs();
      spent += Math.min(now - last, MOST_AT_ONCE_MS);
      last = now;
      left = left.filter((core) => this.current(core) !== null && !set.hasAnswered(core));
    }
    for (const core of left) {
      this.condemn(core, silence(core));
      await this.current(core)?.ended;
    }
  }

  /**
   * Does what the rings hold. Context: event loop of the kernel thread.
   *
   * @returns true when it has answered faults, and nothing of what it did is still under way
   */
  private drain(): boolean {
    let isMore = false;
    let taken = 0;
    let answered = 0;
    for (const core of this.cores) {
      if (core === null) continue;
      for (let records = 0; records < DRAIN_RECORDS; records++) {
        if (!popRecord(this.port, this.map, core.slot, this.record)) break;
        taken++;
        const { kind, address, access, length } = this.record;
        // A program may catch that it was told to end, and ask for more.
        if (core.isEnding) {
          if (kind !== RECORD_PREFETCH) this.answer(core, errno.EINTR);
        } else if (kind === RECORD_FAULT && this.fault(core, address, access)) answered++;
        else if (kind === RECORD_SYSCALL) void this.call(core);
        else if (kind === RECORD_PREFETCH) this.prefetches.add(core.mm, address, length);
        isMore ||= records === DRAIN_RECORDS - 1;
      }
    }
    if (isMore) this.later?.request();
    return answered > 0 && answered === taken;
  }

  /** @returns whether it is answered */
  private fault(core: KernelCore, address: number, access: number): boolean {
    const kind = isMapped(core.mm, address) ? FAULT_PROTECTION : FAULT_MINOR;
    const outcome = faultIn(core.mm, address, access);
    if (isPending(outcome)) {
      void outcome.then((settled) => this.answerFault(core, FAULT_MAJOR, settled));
      return false;
    }
    this.answerFault(core, kind, outcome);
    return true;
  }

  private answerFault(core: KernelCore, kind: number, outcome: number): void {
    if (!this.awaits(core)) return;
    this.port.store(this.map.words, core.block + CORE_FAULT_KIND, kind);
    this.answer(core, outcome);
  }

  private async call(core: KernelCore): Promise<void> {
    const letter = readCall(this.map, core.slot);
    if (letter === null) return this.answer(core, errno.EFAULT);
    const [name, args] = letter;
    const result =
      name === 'fork' ? await this.fork(core) : await this.syscall(core.pid, name, args);
    if (!this.awaits(core)) return;
    this.answer(core, writeLetter(this.map, core.slot, result));
  }

  /** A child that runs on a core of its own: EAGAIN when there is none, as for too many threads. */
  private async fork(core: KernelCore): Promise<number> {
    if (!this.hasRoom()) return errno.EAGAIN;
    this.forks++;
    const child = (await this.syscall(core.pid, 'fork', [])) as number;
    this.forks--;
    if (isErr(child)) return child;
    this.expected.set(child, core);
    if (this.coreAt(core.slot) !== core) this.endOrphans(core);
    return child;
  }

  /** Children that a core has forked and had no time to start. */
  private endOrphans(parent: KernelCore): void {
    for (const [child, core] of this.expected) {
      if (core === parent) void this.syscall(child, 'exit', []);
    }
  }

  /**
   * Whether a core still waits for what was done for it: its slot, and with it the letter box, may
   * have gone to another; one that was told to end has its answer, and may have trapped again.
   */
  private awaits(core: KernelCore): boolean {
    return this.coreAt(core.slot) === core && !core.isEnding;
  }

  private answer(core: KernelCore, result: number): void {
    if (this.coreAt(core.slot) !== core) return;
    answerTrap(this.port, this.map.words, core.block, result);
  }
}

/** What a program asks for; null for what is no call. */
function readCall(map: ControlMap, slot: number): [string, unknown[]] | null {
  try {
    const letter = readLetter(map, slot) as [unknown, unknown] | null;
    const [name, args] = letter ?? [];
    return typeof name === 'string' && Array.isArray(args) ? [name, args] : null;
  } catch {
    // A program can write there as it likes.
    return null;
  }
}

/** True when a page is mapped there and was touched: what fails is the permission. */
function isMapped(mm: MmStruct, address: number): boolean {
  const { words } = mm.sys.pageTables;
  const touched = PTE_PRESENT | PTE_YOUNG;
  return (words[mm.sys.pageTables.leafOffset(mm.pgd, address)]! & touched) === touched;
}

/** Makes an access possible, or says why it is not. Sets young and dirty for the core. */
function faultIn(mm: MmStruct, address: number, access: number): MaybePromise<number> {
  while (accessiblePage(mm, address, access) === 0) {
    const outcome = faultInUser(mm, address, access);
    if (isPending(outcome)) {
      return outcome.then((settled) =>
        settled === FAULT_OK ? faultIn(mm, address, access) : settled,
      );
    }
    if (outcome !== FAULT_OK) return outcome;
  }
  return FAULT_OK;
}
