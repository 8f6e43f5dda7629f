/**
 * Loops that load and store through a core's TLB, each beside the same loop over a typed array on
 * shared memory: the same byte addresses, from a base that is only known when it runs. Every loop
 * is a function of its own: shared between widths, the JS engine would compile one slow version
 * for all.
 *
 * A loop makes `ACCESSES` accesses and returns something that depends on all of them.
 */
import type { ProgramCpu } from '../src/index.ts';

/** Accesses of one run of a loop. */
export const ACCESSES = 8192;
/** Bytes that the loops reach: 16 pages. */
export const LOOP_BYTES = ACCESSES * 8;

/** Typed arrays over the same plain shared memory. */
export class RawViews {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
  }
}

/** A loop, twice: with virtual addresses from `base` on, and with offsets into a plain array. */
export interface LoopPair {
  readonly name: string;
  readonly ours: (cpu: ProgramCpu, base: number, offsets: Uint32Array) => number;
  readonly raw: (views: RawViews, base: number, offsets: Uint32Array) => number;
}

const sequential: readonly LoopPair[] = [
  {
    name: 'load8',
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + cpu.load8(base + i)) | 0;
      return sum;
    },
    raw: ({ u8 }, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + u8[base + i]!) | 0;
      return sum;
    },
  },
  {
    name: 'load16',
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + cpu.load16(base + i * 2)) | 0;
      return sum;
    },
    raw: ({ u16 }, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + u16[(base + i * 2) >>> 1]!) | 0;
      return sum;
    },
  },
  {
    name: 'load32',
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + cpu.load32(base + i * 4)) | 0;
      return sum;
    },
    raw: ({ u32 }, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + u32[(base + i * 4) >>> 2]!) | 0;
      return sum;
    },
  },
  {
    name: 'load64',
    ours: (cpu, base) => {
      let sum = 0n;
      for (let i = 0; i < ACCESSES; i++) sum = BigInt.asUintN(64, sum + cpu.load64(base + i * 8));
      return Number(sum);
    },
    raw: ({ u64 }, base) => {
      let sum = 0n;
      for (let i = 0; i < ACCESSES; i++) sum = BigInt.asUintN(64, sum + u64[(base + i * 8) >>> 3]!);
      return Number(sum);
    },
  },
  {
    name: 'loadF32',
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum += cpu.loadF32(base + i * 4);
      return sum;
    },
    raw: ({ f32 }, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum += f32[(base + i * 4) >>> 2]!;
      return sum;
    },
  },
  {
    name: 'loadF64',
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum += cpu.loadF64(base + i * 8);
      return sum;
    },
    raw: ({ f64 }, base) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum += f64[(base + i * 8) >>> 3]!;
      return sum;
    },
  },
  {
    name: 'store8',
    ours: (cpu, base) => {
      for (let i = 0; i < ACCESSES; i++) cpu.store8(base + i, i);
      return 0;
    },
    raw: ({ u8 }, base) => {
      for (let i = 0; i < ACCESSES; i++) u8[base + i] = i;
      return 0;
    },
  },
  {
    name: 'store16',
    ours: (cpu, base) => {
      for (let i = 0; i < ACCESSES; i++) cpu.store16(base + i * 2, i);
      return 0;
    },
    raw: ({ u16 }, base) => {
      for (let i = 0; i < ACCESSES; i++) u16[(base + i * 2) >>> 1] = i;
      return 0;
    },
  },
  {
    name: 'store32',
    ours: (cpu, base) => {
      for (let i = 0; i < ACCESSES; i++) cpu.store32(base + i * 4, i);
      return 0;
    },
    raw: ({ u32 }, base) => {
      for (let i = 0; i < ACCESSES; i++) u32[(base + i * 4) >>> 2] = i;
      return 0;
    },
  },
  {
    name: 'store64',
    ours: (cpu, base) => {
      let value = 0n;
      for (let i = 0; i < ACCESSES; i++) {
        cpu.store64(base + i * 8, value);
        value = BigInt.asUintN(64, value + 1n);
      }
      return 0;
    },
    raw: ({ u64 }, base) => {
      let value = 0n;
      for (let i = 0; i < ACCESSES; i++) {
        u64[(base + i * 8) >>> 3] = value;
        value = BigInt.asUintN(64, value + 1n);
      }
      return 0;
    },
  },
  {
    name: 'storeF32',
    ours: (cpu, base) => {
      for (let i = 0; i < ACCESSES; i++) cpu.storeF32(base + i * 4, i);
      return 0;
    },
    raw: ({ f32 }, base) => {
      for (let i = 0; i < ACCESSES; i++) f32[(base + i * 4) >>> 2] = i;
      return 0;
    },
  },
  {
    name: 'storeF64',
    ours: (cpu, base) => {
      for (let i = 0; i < ACCESSES; i++) cpu.storeF64(base + i * 8, i);
      return 0;
    },
    raw: ({ f64 }, base) => {
      for (let i = 0; i < ACCESSES; i++) f64[(base + i * 8) >>> 3] = i;
      return 0;
    },
  },
];

const scattered: readonly LoopPair[] = [
  {
    name: 'strided load32',
    // A page and a word further each time: every access is on another page than the last.
    ours: (cpu, base) => {
      let sum = 0;
      for (let i = 0, at = 0; i < ACCESSES; i++) {
        sum = (sum + cpu.load32(base + at)) | 0;
        at = (at + 4100) & (LOOP_BYTES - 1);
      }
      return sum;
    },
    raw: ({ u32 }, base) => {
      let sum = 0;
      for (let i = 0, at = 0; i < ACCESSES; i++) {
        sum = (sum + u32[(base + at) >>> 2]!) | 0;
        at = (at + 4100) & (LOOP_BYTES - 1);
      }
      return sum;
    },
  },
  {
    name: 'random load32',
    ours: (cpu, base, offsets) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + cpu.load32(base + offsets[i]!)) | 0;
      return sum;
    },
    raw: ({ u32 }, base, offsets) => {
      let sum = 0;
      for (let i = 0; i < ACCESSES; i++) sum = (sum + u32[(base + offsets[i]!) >>> 2]!) | 0;
      return sum;
    },
  },
  {
    name: 'random store32',
    ours: (cpu, base, offsets) => {
      for (let i = 0; i < ACCESSES; i++) cpu.store32(base + offsets[i]!, i);
      return 0;
    },
    raw: ({ u32 }, base, offsets) => {
      for (let i = 0; i < ACCESSES; i++) u32[(base + offsets[i]!) >>> 2] = i;
      return 0;
    },
  },
];

/** All loops. */
export const LOOP_PAIRS: readonly LoopPair[] = [...sequential, ...scattered];
