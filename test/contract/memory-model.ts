/*
 * What a copy engine must do, written down a second time and as plainly as possible: one array of
 * words for all frames, RAM first. It shares no code with the engines, the checksum included.
 */
import type { CommandList } from '../../src/engine/command-list.ts';
import type { FrameGeometry } from '../../src/engine/copy-engine.ts';

const WORDS = 1024;
const COPY = 1;
const CLEAR = 2;
const CHECKSUM = 3;
const ADD = 4;

/** RAM and VRAM of a machine, as they should be. */
export class MemoryModel {
  readonly geometry: FrameGeometry;
  readonly words: Uint32Array;

  constructor(geometry: FrameGeometry) {
    this.geometry = geometry;
    this.words = new Uint32Array((geometry.hostFrames + geometry.vramFrames) * WORDS);
  }

  /** The words of one frame. */
  frame(frame: number): Uint32Array {
    return this.words.subarray(frame * WORDS, (frame + 1) * WORDS);
  }

  /** All words of RAM. */
  get ram(): Uint32Array {
    return this.words.subarray(0, this.geometry.hostFrames * WORDS);
  }

  /** All words of VRAM. */
  get vram(): Uint32Array {
    return this.words.subarray(this.geometry.hostFrames * WORDS);
  }

  /** Applies a list that is known to be good; returns what each row's `result` should be. */
  apply(list: CommandList): number[] {
    const results: number[] = [];
    for (let row = 0; row < list.length; row++) results.push(this.applyRow(list, row));
    return results;
  }

  private applyRow(list: CommandList, row: number): number {
    const count = list.count[row]!;
    const source = list.source[row]!;
    const target = list.target[row]!;
    const op = list.op[row]!;
    for (let i = 0; i < (op === CHECKSUM ? 0 : count); i++) {
      const words = this.frame(target + i);
      if (op === COPY) words.set(this.frame(source + i));
      if (op === CLEAR) words.fill(0);
      if (op === ADD) words.forEach((word, at) => (words[at] = word + list.operand[row]!));
    }
    if (op !== CHECKSUM) return 0;
    return modelChecksum(this.words.subarray(source * WORDS, (source + count) * WORDS));
  }
}

/** The checksum as its definition reads: mix each word with its position, add up. */
export function modelChecksum(words: Uint32Array): number {
  const modulus = 2 ** 32;
  const multiply = (a: number, b: number): number =>
    ((((a >>> 16) * b) % 65536) * 65536 + (a & 0xffff) * b) % modulus;
  let sum = 0;
  words.forEach((word, position) => {
    let mixed = (word ^ multiply((position + 1) % modulus, 0x9e3779b9)) >>> 0;
    mixed = multiply((mixed ^ (mixed >>> 16)) >>> 0, 0x85ebca6b);
    mixed = multiply((mixed ^ (mixed >>> 13)) >>> 0, 0xc2b2ae35);
    sum = (sum + ((mixed ^ (mixed >>> 16)) >>> 0)) % modulus;
  });
  return sum;
}
