/**
 * The CPU that programs get: loads and stores that hit the TLB, in a few instructions. What they
 * do not hit (a miss, an unaligned access, the time to poll) is done by the methods of `Cpu`, which
 * are right for all accesses.
 *
 * What makes it fast, each measured (docs/performance.md):
 *  - the class is made for one core, so the JS engine compiles the addresses of RAM and TLB into
 *    the code of the program's loop, as constants;
 *  - the slow way takes its argument from memory, and stays a call: inlined, or called with the
 *    address, it would make the loop keep addresses as objects on the heap.
 */
import type { AtomicsPort } from './atomics-port.ts';
import { CoreMemory } from './core-memory.ts';
import type { CoreImage } from './core.ts';
import type { Doorbell } from './doorbell.ts';
import { ProgramCpu } from './program.ts';
import type { CoreMessage } from './program.ts';

/** Calls after which the JS engine knows that a call goes to different functions. */
const PRIMING_CALLS = 1000;

/** The way from a fast access to the slow one: arguments and results are in memory. */
class SlowWay {
  readonly address = new Float64Array(new ArrayBuffer(8));
  /** Of stores and loads of up to 32 bits and of floats. */
  readonly number = new Float64Array(new ArrayBuffer(8));
  readonly word = new Uint32Array(new ArrayBuffer(4));
  readonly long = new BigUint64Array(new ArrayBuffer(8));
  /** Does the access of that kind. Throws CpuSignal. */
  readonly take: (kind: number) => void;
  private readonly exits: (() => void)[];

  constructor() {
    const exits = Array.from({ length: 12 }, () => (): void => undefined);
    this.exits = exits;
    this.take = (kind) => exits[kind]!();
    for (let i = 0; i < PRIMING_CALLS; i++) this.take(i % 12);
  }

  /** Leads to the general accesses of `cpu`. */
  connect(cpu: ProgramCpu): void {
    const { address, number, word, long, exits } = this;
    const general = ProgramCpu.prototype;
    exits[0] = () => (word[0] = general.load8.call(cpu, address[0]!));
    exits[1] = () => (word[0] = general.load16.call(cpu, address[0]!));
    exits[2] = () => (word[0] = general.load32.call(cpu, address[0]!));
    exits[3] = () => (long[0] = general.load64.call(cpu, address[0]!));
    exits[4] = () => (number[0] = general.loadF32.call(cpu, address[0]!));
    exits[5] = () => (number[0] = general.loadF64.call(cpu, address[0]!));
    exits[6] = () => general.store8.call(cpu, address[0]!, number[0]!);
    exits[7] = () => general.store16.call(cpu, address[0]!, number[0]!);
    exits[8] = () => general.store32.call(cpu, address[0]!, number[0]!);
    exits[9] = () => general.store64.call(cpu, address[0]!, long[0]!);
    exits[10] = () => general.storeF32.call(cpu, address[0]!, number[0]!);
    exits[11] = () => general.storeF64.call(cpu, address[0]!, number[0]!);
  }
}

/** Makes the CPU of a core. Parameters are those of ProgramCpu. */
export function makeCpu(
  image: CoreImage,
  port: AtomicsPort,
  bell: Doorbell,
  send: (message: CoreMessage) => void,
): ProgramCpu {
  const memory = new CoreMemory(image.ram);
  const slow = new SlowWay();
  const cpu = new (fastCpuClass(memory, slow))(image, port, bell, send, memory);
  slow.connect(cpu);
  return cpu;
}

/**
 * Loads of integers. Written out each: what is shared is compiled once for all. The masks are
 * literals of this function, TLB_ENTRIES - 1 among them, because bundlers turn constants of modules
 * into variables, which the JS engine does not know the values of.
 */
function withLoads(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { u8, u16, u32, u64, fuel, readTags, readWords } = memory;
  const { address, word, long, take } = slow;
  const OFFSET8 = 0xfff;
  const OFFSET16 = 0xffe;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;

  return class extends ProgramCpu {
    override load8(addr: number): number {
      const offset = addr & OFFSET8;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return u8[((readWords[at]! << 2) | offset) >>> 0]!;
      }
      address[0] = addr;
      take(0);
      return word[0]!;
    }

    override load16(addr: number): number {
      const offset = addr & OFFSET16;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return u16[((readWords[at]! << 1) + (offset >>> 1)) >>> 0]!;
      }
      address[0] = addr;
      take(1);
      return word[0]!;
    }

    override load32(addr: number): number {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return u32[readWords[at]! + (offset >>> 2)]!;
      }
      address[0] = addr;
      take(2);
      return word[0]!;
    }

    override load64(addr: number): bigint {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return u64[(readWords[at]! >>> 1) + (offset >>> 3)]!;
      }
      address[0] = addr;
      take(3);
      return long[0]!;
    }
  };
}

/** Stores of integers, and what withLoads has. */
function withStores(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { u8, u16, u32, u64, fuel, writeTags, writeWords } = memory;
  const { address, number, long, take } = slow;
  const OFFSET8 = 0xfff;
  const OFFSET16 = 0xffe;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;

  return class extends withLoads(memory, slow) {
    override store8(addr: number, value: number): void {
      const offset = addr & OFFSET8;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        u8[((writeWords[at]! << 2) | offset) >>> 0] = value;
        return;
      }
      address[0] = addr;
      number[0] = value;
      take(6);
    }

    override store16(addr: number, value: number): void {
      const offset = addr & OFFSET16;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        u16[((writeWords[at]! << 1) + (offset >>> 1)) >>> 0] = value;
        return;
      }
      address[0] = addr;
      number[0] = value;
      take(7);
    }

    override store32(addr: number, value: number): void {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        u32[writeWords[at]! + (offset >>> 2)] = value;
        return;
      }
      address[0] = addr;
      number[0] = value;
      take(8);
    }

    override store64(addr: number, value: bigint): void {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        u64[(writeWords[at]! >>> 1) + (offset >>> 3)] = value;
        return;
      }
      address[0] = addr;
      long[0] = value;
      take(9);
    }
  };
}

/** All accesses. */
function fastCpuClass(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { f32, f64, fuel, readTags, readWords, writeTags, writeWords } = memory;
  const { address, number, take } = slow;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;

  return class extends withStores(memory, slow) {
    override loadF32(addr: number): number {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return f32[readWords[at]! + (offset >>> 2)]!;
      }
      address[0] = addr;
      take(4);
      return number[0]!;
    }

    override loadF64(addr: number): number {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (readTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        return f64[(readWords[at]! >>> 1) + (offset >>> 3)]!;
      }
      address[0] = addr;
      take(5);
      return number[0]!;
    }

    override storeF32(addr: number, value: number): void {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        f32[writeWords[at]! + (offset >>> 2)] = value;
        return;
      }
      address[0] = addr;
      number[0] = value;
      take(10);
    }

    override storeF64(addr: number, value: number): void {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset && (fuel[0] = (fuel[0]! - 1) | 0) >= 0) {
        f64[(writeWords[at]! >>> 1) + (offset >>> 3)] = value;
        return;
      }
      address[0] = addr;
      number[0] = value;
      take(11);
    }
  };
}
