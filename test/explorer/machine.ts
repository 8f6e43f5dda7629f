/*
 * The kernel's machine, as it is at one point of an exploration: mm, its cores' kernel side, a
 * device. Built anew for each execution. What cores see of it, page tables and contents of frames,
 * is the explorer's; the page table's changes go there when the kernel does its next operation.
 */
import { isPending } from '../../src/base/maybe.ts';
import type { MaybePromise } from '../../src/base/maybe.ts';
import { PAGE_SIZE } from '../../src/base/units.ts';
import type { CoreImage } from '../../src/cpu/core.ts';
import { mmAlloc } from '../../src/mm/fork.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../src/mm/mm-types.ts';
import type { MmStruct, System } from '../../src/mm/mm-types.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import { createSystem } from '../../src/mm/system.ts';
import { ACCESS_READ, ACCESS_WRITE, FAULT_OK } from '../../src/mm/uaccess.ts';
import { accessiblePage, faultInUser } from '../../src/mm/uaccess.ts';
import { KernelCores } from '../../src/worker/kernel-cores.ts';
import { ExplorerDevice } from './device.ts';
import { ExplorerPort } from './port.ts';
import { fingerprint } from './fingerprint.ts';
import type { Replay } from './replay.ts';
import { LOAD, WRITE, makeOp } from './replay.ts';
import type { Space } from './space.ts';
import { controlMap } from './words.ts';

/** Words of a page that are used: one for each core. */
export const PAGE_WORDS = 2;
/** Properties that say nothing about what comes next: counters, and the explorer's own. */
const NO_STATE = new Set([
  'vmstat',
  'tlbFlushes',
  'tlbFlushedPages',
  'replay',
  'space',
  'frames',
  'map',
  'ram',
  'ramWords',
  'host',
  'record',
  'ended',
]);
/** Cores and kernel reach these by their ports alone, so nobody ever writes here. */
const CONSTANT = [controlMap.words];
const RAM_PAGES = 16;
const MAX_TABLES = 12;
export const RW = PROT_READ | PROT_WRITE;

/** Contents don't matter here: the explorer has them. */
const ram = new SharedArrayBuffer(RAM_PAGES * PAGE_SIZE);

/** The value of something that can't have to wait. */
export function now<T>(value: MaybePromise<T>): T {
  if (isPending(value)) throw new Error('this should not have had to wait');
  return value;
}

/** RAM whose copies are seen. */
class WatchedBytes extends Uint8Array<SharedArrayBuffer> {
  onCopy: (target: number, source: number) => void = () => undefined;

  override copyWithin(target: number, start: number): this {
    this.onCopy(target / PAGE_SIZE, start / PAGE_SIZE);
    return this;
  }
}

class WatchedWords extends Uint32Array<SharedArrayBuffer> {
  onClear: (frame: number) => void = () => undefined;

  override fill(_value: number, start = 0): this {
    this.onClear((start * 4) / PAGE_SIZE);
    return this;
  }
}

/** A process with one page. */
export interface Place {
  /** Names its words. */
  readonly name: string;
  readonly pid: number;
  readonly mm: MmStruct;
  readonly addr: number;
}

export class ExplorerMachine {
  readonly sys: System;
  readonly cores: KernelCores;
  readonly device: ExplorerDevice;
  readonly replay: Replay;
  readonly images: CoreImage[] = [];
  /** What steps of the kernel's work leave for later ones. */
  readonly notes = new Map<string, unknown>();
  /** Does what the ring holds. */
  drain: () => void = () => undefined;
  private readonly space: Space;
  readonly port: ExplorerPort;
  private readonly tables: Uint32Array;
  private framesInUse = 0;

  constructor(replay: Replay, space: Space) {
    this.replay = replay;
    this.space = space;
    this.sys = this.boot();
    this.tables = new Uint32Array(this.sys.pageTables.words.length);
    const options = { isKernel: true, isRingVisible: false, leafAt: -1 };
    this.port = new ExplorerPort(replay, space, options);
    const { port } = this;
    this.cores = new KernelCores(this.sys, () => Promise.resolve(null), { port, map: controlMap });
    const frames = {
      count: PAGE_WORDS,
      load: (frame: number, word: number) => this.loadWord(frame, word),
      store: (frame: number, word: number, value: number) => this.storeWord(frame, word, value),
    };
    this.device = new ExplorerDevice(this.sys, frames);
    this.cores.attachHost({
      postMessage: ({ end }: { end: number }) => this.mark(`condemned ${end}`, 1),
      close: () => undefined,
    } as unknown as MessagePort);
    replay.onKnown = () => {
      // Cores have seen all up to here.
      this.tables.set(this.sys.pageTables.words);
      this.framesInUse = this.findFramesInUse();
    };
    replay.onFresh = () => this.publish();
  }

  /** True while somebody in the kernel waits, in ways that can't be told apart from outside. */
  get isWaiting(): boolean {
    if (this.sys.mem.waitingPages > 0) return true;
    for (const { mmapLock } of this.sys.mms) {
      const { queue } = mmapLock as unknown as { queue: unknown[] };
      if (queue.length > 0) return true;
    }
    return false;
  }

  /** Names the state that the kernel is in. */
  fingerprint(): string {
    const { sys, cores, device, notes, port } = this;
    return fingerprint([sys, cores, device, notes, port], NO_STATE, CONSTANT);
  }

  /** A process with one page. @param isTouched Whether it was stored to. */
  addProcess(pid: number, name: string, isTouched = true): Place {
    const mm = mmAlloc(this.sys);
    if (typeof mm === 'number') throw new Error('no room for a process');
    const addr = this.map(mm, 0);
    if (isTouched) this.touch(mm, addr, ACCESS_WRITE);
    return { name, pid, mm, addr };
  }

  /** Maps a page. */
  map(mm: MmStruct, addr: number): number {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS;
    return now(doMmap(mm, { addr, length: PAGE_SIZE, prot: RW, flags }));
  }

  addCore(place: Place): void {
    const bell = { onmessage: () => undefined as void, close: () => undefined };
    const image = this.cores.start(place.pid, place.mm, bell as unknown as MessagePort);
    if (typeof image === 'number') throw new Error(`no core: ${image}`);
    this.images.push(image);
    this.drain = bell.onmessage;
  }

  /** Faults a page in. @returns its frame. */
  touch(mm: MmStruct, addr: number, access = ACCESS_READ): number {
    for (;;) {
      const frame = accessiblePage(mm, addr, access);
      if (frame !== 0) return frame;
      if (now(faultInUser(mm, addr, access)) !== FAULT_OK) throw new Error('no such page');
    }
  }

  loadWord(frame: number, word: number): number {
    const name = `frame ${frame} word ${word}`;
    return this.replay.value(makeOp(LOAD, `copies from ${name}`, { at: this.space.at(name) }));
  }

  storeWord(frame: number, word: number, value: number): void {
    const name = `frame ${frame} word ${word}`;
    const writes = [this.space.at(name), value];
    this.replay.effect(makeOp(WRITE, `copies ${value} to ${name}`, { writes }));
  }

  /** What the cores' words of a page must hold at this moment. */
  expected({ name }: Place): number[] {
    return Array.from({ length: PAGE_WORDS }, (_, i) => this.peek(`expect ${name} ${i}`));
  }

  /** Looks at a word that is not there in production. */
  peek(name: string): number {
    const op = makeOp(LOAD, `(${name})`, { at: this.space.at(name), isQuiet: true });
    return this.replay.value(op);
  }

  /** Writes a word that is not there in production. */
  mark(name: string, value: number): void {
    const writes = [this.space.at(name), value];
    this.replay.effect(makeOp(WRITE, `(${name} := ${value})`, { writes, isQuiet: true }));
  }

  private boot(): System {
    const ramBytes = RAM_PAGES * PAGE_SIZE;
    const sys = createSystem({ ramBytes, devicePages: 8, maxTables: MAX_TABLES, ram });
    if (typeof sys === 'number') throw new Error(`createSystem: ${sys}`);
    const bytes = new WatchedBytes(ram);
    const words = new WatchedWords(ram);
    bytes.onCopy = (target, source) => {
      for (let i = 0; i < PAGE_WORDS; i++) this.storeWord(target, i, this.loadWord(source, i));
    };
    words.onClear = (frame) => {
      for (let i = 0; i < PAGE_WORDS; i++) this.storeWord(frame, i, 0);
    };
    return Object.assign(sys, { ram: bytes, ramWords: words });
  }

  /** Makes what the kernel has done since its last operation visible to cores. */
  private publish(): void {
    const { words } = this.sys.pageTables;
    const writes: number[] = [];
    let label = 'page table:';
    for (let i = 0; i < words.length; i++) {
      const value = words[i]!;
      if (value === this.tables[i]) continue;
      this.tables[i] = value;
      writes.push(this.space.at(`table word ${i}`), value | 0);
      label += ` word ${i} := 0x${value.toString(16)}`;
    }
    const frames = this.findFramesInUse();
    if (frames !== this.framesInUse) {
      this.framesInUse = frames;
      writes.push(this.space.at('frames in use'), frames);
      label += ` frames in use 0x${frames.toString(16)}`;
    }
    if (writes.length > 0) this.replay.insert(makeOp(WRITE, label, { writes }));
  }

  private findFramesInUse(): number {
    let frames = 0;
    for (let i = 0; i < RAM_PAGES; i++) if (this.sys.mem.refcount[i]! > 0) frames |= 1 << i;
    return frames;
  }
}
