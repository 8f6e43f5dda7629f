/*
 * Kernels of every shape that matters to exactly-once, in the small language, each with memory to
 * run on and what of the result is fixed. Tests run them on all engines, and their costs are
 * compared with those of the same kernels over plain memory.
 *
 * Arguments are byte addresses of arrays, then numbers. An array takes whole pages.
 *
 * Locking. None; pure. Source: our own.
 */
import { Prng } from '../../base/prng.ts';
import type { VmIrKernel } from './ir.ts';
import { SHAPE_KERNELS } from './shape-kernels.ts';
import { printVmKernel } from './print-wgsl.ts';
import type { VmKernel } from './vm-engine.ts';

/** Arrays whose order of elements is free; all other memory is compared byte by byte. */
export interface FreeOrder {
  /** Byte offset from the base, and bytes. */
  readonly offset: number;
  readonly bytes: number;
}

/** A kernel with something to work on. */
export interface VmCase {
  readonly name: string;
  readonly ir: VmIrKernel;
  readonly kernel: VmKernel;
  readonly workgroups: number;
  readonly args: readonly number[];
  /** Address of the first byte. */
  readonly base: number;
  /** Contents at first, whole pages. */
  readonly bytes: Uint8Array;
  readonly free: readonly FreeOrder[];
}

/** Lays out arrays for a kernel. */
export class CaseBuilder {
  readonly prng: Prng;
  readonly args: number[] = [];
  readonly free: FreeOrder[] = [];
  private readonly base: number;
  private readonly parts: Uint32Array[] = [];
  private words = 0;

  constructor(base: number, seed: number) {
    this.base = base;
    this.prng = new Prng(seed);
  }

  /** An array of so many words; its address is the next argument. Returns the array to fill. */
  array(words: number, fill: (index: number) => number = () => 0): Uint32Array {
    const part = new Uint32Array(Math.ceil(words / 1024) * 1024);
    for (let index = 0; index < words; index++) part[index] = fill(index);
    this.args.push(this.base + this.words * 4);
    this.parts.push(part);
    this.words += part.length;
    return part;
  }

  /** As `array`, but the order of its elements is free. */
  bag(words: number): Uint32Array {
    const offset = this.words * 4;
    const part = this.array(words);
    this.free.push({ offset, bytes: part.byteLength });
    return part;
  }

  /** A plain number as the next argument. */
  value(number: number): void {
    this.args.push(number);
  }

  /** The case. */
  build(name: string, ir: VmIrKernel, workgroups: number): VmCase {
    const all = new Uint32Array(this.words);
    let at = 0;
    for (const part of this.parts) {
      all.set(part, at);
      at += part.length;
    }
    return {
      name,
      ir,
      kernel: kernelOfIr(ir),
      workgroups,
      args: this.args,
      base: this.base,
      bytes: new Uint8Array(all.buffer),
      free: this.free,
    };
  }
}

/** A kernel of the small language as engines take it. */
export function kernelOfIr(ir: VmIrKernel): VmKernel {
  return { name: ir.name, lanes: ir.lanes, wgsl: printVmKernel(ir), ir };
}

/** Names of the shapes. */
export const SHAPE_NAMES: readonly string[] = Object.keys(SHAPE_KERNELS);

/**
 * A shape's kernel with memory.
 *
 * @param name one of `SHAPE_NAMES`
 * @param workgroups of 64 invocations; rounded to what the shape needs
 * @param base address of the memory, page aligned
 * @param seed of its contents
 */
export function shapeCase(name: string, workgroups: number, base: number, seed: number): VmCase {
  const shape = SHAPE_KERNELS[name];
  if (shape === undefined) throw new RangeError(`there is no shape ${name}`);
  const builder = new CaseBuilder(base, seed);
  const groups = shape.prepare(builder, workgroups) ?? workgroups;
  return builder.build(name, shape.ir, groups);
}
