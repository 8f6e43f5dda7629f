/**
 * The CPU that programs get: loads and stores that hit the TLB, in a few instructions. What they
 * do not hit (a miss, an unaligned access, a nudge of the kernel) is done by the methods of `Cpu`,
 * which are right for all accesses.
 *
 * What makes it fast, each measured (docs/performance.md):
 *  - the class is made for one core, so the JS engine compiles the addresses of RAM and TLB into
 *    the code of the program's loop, as constants;
 *  - the slow way takes its argument from memory, and stays a call: inlined, or called with the
 *    address, it would make the loop keep addresses as objects on the heap.
 */
import type { AtomicsPort } from './atomics-port.ts';
import { CoreMemory, SLOW_ADDRESS, SLOW_NUMBER, SLOW_WORD } from './core-memory.ts';
import type { CoreImage } from './core.ts';
import type { Doorbell } from './doorbell.ts';
import { ProgramCpu } from './program.ts';
import type { CoreMessage } from './program.ts';

/** Calls after which the JS engine knows what a method does, and that a call goes anywhere. */
const PRIMING_ROUNDS = 128;
/** An address of a process. */
const ANY_ADDRESS = 2 ** 46;

/**
 * The way from a fast access to the slow one. Address, value and result are in memory: in arrays
 * that the fast one uses anyway, so that the compiled loop has fewer to know of.
 */
class SlowWay {
  readonly long = new BigUint64Array(new ArrayBuffer(8));
  /** Does the access of that kind. Throws CpuSignal. */
  readonly take: (kind: number) => void;
  private readonly exits: (() => void)[];

  constructor() {
    const exits = Array.from({ length: 12 }, () => (): void => undefined);
    this.exits = exits;
    this.take = (kind) => exits[kind]!();
  }

  /** Leads to the general accesses of `cpu`. */
  connect(cpu: ProgramCpu): void {
    const { long, exits } = this;
    const { readTags, readWords, writeTags } = cpu.memory;
    const general = ProgramCpu.prototype;
    const from = (): number => readTags[SLOW_ADDRESS]!;
    const to = (): number => writeTags[SLOW_ADDRESS]!;
    const value = (): number => writeTags[SLOW_NUMBER]!;
    exits[0] = () => (readWords[SLOW_WORD] = general.load8.call(cpu, from()));
    exits[1] = () => (readWords[SLOW_WORD] = general.load16.call(cpu, from()));
    exits[2] = () => (readWords[SLOW_WORD] = general.load32.call(cpu, from()));
    exits[3] = () => (long[0] = general.load64.call(cpu, from()));
    exits[4] = () => (readTags[SLOW_NUMBER] = general.loadF32.call(cpu, from()));
    exits[5] = () => (readTags[SLOW_NUMBER] = general.loadF64.call(cpu, from()));
    exits[6] = () => general.store8.call(cpu, to(), value());
    exits[7] = () => general.store16.call(cpu, to(), value());
    exits[8] = () => general.store32.call(cpu, to(), value());
    exits[9] = () => general.store64.call(cpu, to(), long[0]!);
    exits[10] = () => general.storeF32.call(cpu, to(), value());
    exits[11] = () => general.storeF64.call(cpu, to(), value());
  }
}

/** Makes the CPU of a core. Parameters are those of ProgramCpu. */
export function makeCpu(
  image: CoreImage,
  port: AtomicsPort,
  bell: Doorbell,
  send: (message: CoreMessage) => void,
): ProgramCpu {
  const memory = new CoreMemory(image);
  const slow = new SlowWay();
  const cpu = new (fastCpuClass(memory, slow))(image, port, bell, send, memory);
  prime(cpu);
  slow.connect(cpu);
  return cpu;
}

/**
 * Takes the slow way of each access, while it leads nowhere. A program's loop may be compiled
 * before it has missed once; with a way in it that nobody has taken, V8 does not peel the loop, and
 * converts what stays the same on every round.
 */
function prime(cpu: ProgramCpu): void {
  for (let i = 0; i < PRIMING_ROUNDS; i++) {
    cpu.load8(ANY_ADDRESS);
    cpu.load16(ANY_ADDRESS);
    cpu.load32(ANY_ADDRESS);
    cpu.load64(ANY_ADDRESS);
    cpu.loadF32(ANY_ADDRESS);
    cpu.loadF64(ANY_ADDRESS);
    cpu.store8(ANY_ADDRESS, i);
    cpu.store16(ANY_ADDRESS, i);
    cpu.store32(ANY_ADDRESS, i);
    cpu.store64(ANY_ADDRESS, 0n);
    cpu.storeF32(ANY_ADDRESS, i);
    cpu.storeF64(ANY_ADDRESS, i);
  }
}

/**
 * Loads of integers. Written out each: what is shared is compiled once for all. The masks are
 * literals of this function, TLB_ENTRIES - 1 among them, because bundlers turn constants of modules
 * into variables, which the JS engine does not know the values of.
 */
function withLoads(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { u8, u16, u32, u64, control, nudge, readTags, readWords } = memory;
  const { long, take } = slow;
  const OFFSET8 = 0xfff;
  const OFFSET16 = 0xffe;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;
  const LOOKED = 1024;
  const WORD = 1025;
  const ADDRESS = 1024;

  return class extends ProgramCpu {
    override load8(addr: number): number {
      const offset = addr & OFFSET8;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return u8[((readWords[at]! << 2) | offset) >>> 0]!;
      }
      readTags[ADDRESS] = addr;
      take(0);
      return readWords[WORD]! >>> 0;
    }

    override load16(addr: number): number {
      const offset = addr & OFFSET16;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return u16[((readWords[at]! << 1) + (offset >>> 1)) >>> 0]!;
      }
      readTags[ADDRESS] = addr;
      take(1);
      return readWords[WORD]! >>> 0;
    }

    override load32(addr: number): number {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return u32[readWords[at]! + (offset >>> 2)]!;
      }
      readTags[ADDRESS] = addr;
      take(2);
      return readWords[WORD]! >>> 0;
    }

    override load64(addr: number): bigint {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return u64[(readWords[at]! >>> 1) + (offset >>> 3)]!;
      }
      readTags[ADDRESS] = addr;
      take(3);
      return long[0]!;
    }
  };
}

/** Stores of integers, and what withLoads has. */
function withStores(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { u8, u16, u32, u64, control, nudge, writeTags, writeWords } = memory;
  const { long, take } = slow;
  const OFFSET8 = 0xfff;
  const OFFSET16 = 0xffe;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;
  const ADDRESS = 1024;
  const NUMBER = 1025;

  return class extends withLoads(memory, slow) {
    override store8(addr: number, value: number): void {
      const offset = addr & OFFSET8;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        u8[((writeWords[at]! << 2) | offset) >>> 0] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      writeTags[NUMBER] = value;
      take(6);
    }

    override store16(addr: number, value: number): void {
      const offset = addr & OFFSET16;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        u16[((writeWords[at]! << 1) + (offset >>> 1)) >>> 0] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      writeTags[NUMBER] = value;
      take(7);
    }

    override store32(addr: number, value: number): void {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        u32[writeWords[at]! + (offset >>> 2)] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      writeTags[NUMBER] = value;
      take(8);
    }

    override store64(addr: number, value: bigint): void {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        u64[(writeWords[at]! >>> 1) + (offset >>> 3)] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      long[0] = value;
      take(9);
    }
  };
}

/** All accesses. */
function fastCpuClass(memory: CoreMemory, slow: SlowWay): typeof ProgramCpu {
  const { f32, f64, control, nudge, readTags, readWords, writeTags, writeWords } = memory;
  const { take } = slow;
  const OFFSET32 = 0xffc;
  const OFFSET64 = 0xff8;
  const LAST_ENTRY = 1023;
  const LOOKED = 1024;
  const ADDRESS = 1024;
  const NUMBER = 1025;

  return class extends withStores(memory, slow) {
    override loadF32(addr: number): number {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return f32[readWords[at]! + (offset >>> 2)]!;
      }
      readTags[ADDRESS] = addr;
      take(4);
      return readTags[NUMBER]!;
    }

    override loadF64(addr: number): number {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      readWords[LOOKED] = at;
      if (readTags[at] === addr - offset + control[nudge]!) {
        return f64[(readWords[at]! >>> 1) + (offset >>> 3)]!;
      }
      readTags[ADDRESS] = addr;
      take(5);
      return readTags[NUMBER]!;
    }

    override storeF32(addr: number, value: number): void {
      const offset = addr & OFFSET32;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        f32[writeWords[at]! + (offset >>> 2)] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      writeTags[NUMBER] = value;
      take(10);
    }

    override storeF64(addr: number, value: number): void {
      const offset = addr & OFFSET64;
      const at = (addr >>> 12) & LAST_ENTRY;
      if (writeTags[at] === addr - offset + control[nudge]!) {
        f64[(writeWords[at]! >>> 1) + (offset >>> 3)] = value;
        return;
      }
      writeTags[ADDRESS] = addr;
      writeTags[NUMBER] = value;
      take(11);
    }
  };
}
