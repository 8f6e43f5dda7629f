/**
 * What a program sees of its core: loads and stores by width, bulk and atomic operations, and calls
 * that park. Addresses are virtual; every function that takes one throws CpuSignal where the
 * program may not go. Little endian, as every host of WebGPU is.
 */
import { PAGE_SIZE } from '../base/units.ts';
import { copyBytes, fillBytes, readBytes, writeBytes } from './core-bulk.ts';
import { Core } from './core.ts';
import { CORE_SIGNAL } from './control.ts';
import { RECORD_PREFETCH, RECORD_SYSCALL, pushOrDrop } from './fault-ring.ts';
import { readLetter, writeLetter } from './letter.ts';
import { SyscallError } from './signals.ts';

const MAX_PREFETCH = 2 ** 30;

/** What mmap may be asked for: see MmapRequest of the facade. */
export interface MmapArguments {
  readonly addr?: number;
  readonly length: number;
  readonly prot: number;
  readonly flags?: number;
  readonly fd?: number;
  readonly offset?: number;
}

export class Cpu extends Core {
  private readonly scratch = new DataView(new ArrayBuffer(8));
  private readonly scratchBytes = new Uint8Array(this.scratch.buffer);

  /** Loads an unsigned byte. */
  load8(addr: number): number {
    const at = this.readWordAt(addr) * 4 + (addr & 3);
    return this.memory.u8[at]!;
  }

  /** Loads an unsigned 16-bit value. */
  load16(addr: number): number {
    if ((addr & 1) !== 0) return this.loadSlow(addr, 2).getUint16(0, true);
    return this.memory.u16[this.readWordAt(addr) * 2 + ((addr & 2) >>> 1)]!;
  }

  /** Loads an unsigned 32-bit value. */
  load32(addr: number): number {
    if ((addr & 3) !== 0) return this.loadSlow(addr, 4).getUint32(0, true);
    return this.memory.u32[this.readWordAt(addr)]!;
  }

  /** Loads an unsigned 64-bit value. */
  load64(addr: number): bigint {
    if ((addr & 7) !== 0) return this.loadSlow(addr, 8).getBigUint64(0, true);
    return this.memory.u64[this.readWordAt(addr) >>> 1]!;
  }

  loadF32(addr: number): number {
    if ((addr & 3) !== 0) return this.loadSlow(addr, 4).getFloat32(0, true);
    return this.memory.f32[this.readWordAt(addr)]!;
  }

  loadF64(addr: number): number {
    if ((addr & 7) !== 0) return this.loadSlow(addr, 8).getFloat64(0, true);
    return this.memory.f64[this.readWordAt(addr) >>> 1]!;
  }

  store8(addr: number, value: number): void {
    const at = this.writeWordAt(addr) * 4 + (addr & 3);
    this.memory.u8[at] = value;
  }

  store16(addr: number, value: number): void {
    if ((addr & 1) !== 0) {
      this.scratch.setUint16(0, value, true);
      return this.storeSlow(addr, 2);
    }
    this.memory.u16[this.writeWordAt(addr) * 2 + ((addr & 2) >>> 1)] = value;
  }

  store32(addr: number, value: number): void {
    if ((addr & 3) !== 0) {
      this.scratch.setUint32(0, value, true);
      return this.storeSlow(addr, 4);
    }
    this.memory.u32[this.writeWordAt(addr)] = value;
  }

  store64(addr: number, value: bigint): void {
    if ((addr & 7) !== 0) {
      this.scratch.setBigUint64(0, value, true);
      return this.storeSlow(addr, 8);
    }
    this.memory.u64[this.writeWordAt(addr) >>> 1] = value;
  }

  storeF32(addr: number, value: number): void {
    if ((addr & 3) !== 0) {
      this.scratch.setFloat32(0, value, true);
      return this.storeSlow(addr, 4);
    }
    this.memory.f32[this.writeWordAt(addr)] = value;
  }

  storeF64(addr: number, value: number): void {
    if ((addr & 7) !== 0) {
      this.scratch.setFloat64(0, value, true);
      return this.storeSlow(addr, 8);
    }
    this.memory.f64[this.writeWordAt(addr) >>> 1] = value;
  }

  /** Atomically adds to a 32-bit word. @returns its value before, unsigned. */
  atomicAdd(addr: number, value: number): number {
    return Atomics.add(this.memory.u32, this.atomicAt(addr), value);
  }

  /**
   * Atomically replaces a 32-bit word by `value` if it is `expected`. @returns its value before.
   */
  compareAndSwap(addr: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.memory.u32, this.atomicAt(addr), expected, value);
  }

  /** Loads a 32-bit word in one order with all other atomic operations. */
  atomicLoad(addr: number): number {
    this.checkAligned(addr);
    return Atomics.load(this.memory.u32, this.readWordAt(addr));
  }

  /** Stores a 32-bit word in one order with all other atomic operations. */
  atomicStore(addr: number, value: number): void {
    Atomics.store(this.memory.u32, this.atomicAt(addr), value);
  }

  /** Copies memory of the program into `target`. */
  read(addr: number, target: Uint8Array): void {
    readBytes(this, addr, target);
  }

  /** Copies `source` into memory of the program. */
  write(addr: number, source: Uint8Array): void {
    writeBytes(this, addr, source);
  }

  /** Copies `length` bytes within memory; the ranges may overlap. */
  copy(target: number, source: number, length: number): void {
    copyBytes(this, target, source, length);
  }

  /** Sets `length` bytes to `value`. */
  fill(addr: number, length: number, value: number): void {
    fillBytes(this, addr, length, value);
  }

  /**
   * Makes a system call of this process: mmap, munmap, mprotect, mremap, madvise, openDevice,
   * ioctl and the others of KernelApi that begin with a pid or a descriptor. The pid is put in.
   *
   * @returns its result as data. Throws SyscallError for a negative number or `errno`.
   */
  syscall(call: string, ...args: readonly unknown[]): unknown {
    this.stopIfEnding();
    const { control, image } = this;
    const written = writeLetter(control, image.slot, [call, args]);
    if (written < 0) throw new SyscallError(call, written);
    const result = this.trap(RECORD_SYSCALL, 0, 0);
    if (result < 0) throw new SyscallError(call, result);
    const value = readLetter(control, image.slot);
    const code = typeof value === 'number' ? value : ((value as { errno?: number })?.errno ?? 0);
    if (code < 0) throw new SyscallError(call, code);
    return value;
  }

  /** Maps memory, private and anonymous unless `flags` say otherwise. @returns its address. */
  mmap(request: MmapArguments): number {
    return this.syscall('mmap', request) as number;
  }

  munmap(addr: number, length: number): void {
    this.syscall('munmap', addr, length);
  }

  mprotect(addr: number, length: number, prot: number): void {
    this.syscall('mprotect', addr, length, prot);
  }

  /** Says that [addr, addr + length) will be wanted. A hint: it may be dropped, and never waits. */
  prefetch(addr: number, length: number): void {
    const { image, port, control } = this;
    // A program may do nothing else.
    this.poll();
    // A record holds 32 bits of the length; the kernel serves less of it anyway.
    const bytes = Math.max(0, Math.min(length, MAX_PREFETCH));
    const slot = image.slot;
    const record = { kind: RECORD_PREFETCH, slot, access: 0, address: addr, length: bytes };
    if (pushOrDrop(port, control, record)) this.bell.ring();
  }

  /** Sleeps for that many milliseconds. Parks. */
  sleep(milliseconds: number): void {
    const { port, control, image } = this;
    const signal = control.block(image.slot) + CORE_SIGNAL;
    this.parked(() => port.wait(control.words, signal, 0, milliseconds));
  }

  /** Runs a function that computes for long without touching memory of the program. Parks. */
  compute<T>(work: () => T): T {
    return this.parked(work);
  }

  /** Waits for a promise. Parks; a program that uses it is async, and awaits nothing else. */
  async await<T>(promise: PromiseLike<T>): Promise<T> {
    this.suspend();
    try {
      return await promise;
    } finally {
      this.resume();
    }
  }

  private atomicAt(addr: number): number {
    this.checkAligned(addr);
    return this.writeWordAt(addr);
  }

  private checkAligned(addr: number): void {
    if ((addr & 3) !== 0) throw new RangeError(`atomic access at 0x${addr.toString(16)}`);
  }

  /** Bytes that are not aligned and may lie in two pages. */
  private loadSlow(addr: number, bytes: number): DataView {
    for (let i = 0; i < bytes; i++) this.scratchBytes[i] = this.load8(addr + i);
    return this.scratch;
  }

  private storeSlow(addr: number, bytes: number): void {
    // A store that can't be made whole is not made at all.
    if ((addr % PAGE_SIZE) + bytes > PAGE_SIZE) this.findWrite(addr + bytes - 1);
    for (let i = 0; i < bytes; i++) this.store8(addr + i, this.scratchBytes[i]!);
  }
}
