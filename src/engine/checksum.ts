/*
 * The page checksum: what a CHECKSUM job answers, on every engine.
 *
 * Promises. 32 bits over the words of a range of frames. Each word is mixed with its position from
 * the start of the range, and the mixed words are added modulo 2^32. Addition commutes, so lanes
 * and pages may be summed in any order; the position makes swapped words or swapped pages show, and
 * an omitted last word too, zero or not. It finds accidents, not attackers.
 *
 * The mixer is the well-known 32-bit finalizer of MurmurHash3 (public domain, Austin Appleby). A
 * cheaper one with a single fold let half of the swaps of words that differ in the top bit alone
 * go unseen.
 *
 * Leaves out: cryptographic strength. shaders/shared/checksum.wgsl is the same definition.
 */
import { WORDS_PER_PAGE } from '../base/units.ts';

const POSITION_STEP = 0x9e3779b9;
const MIX_1 = 0x85ebca6b;
const MIX_2 = 0xc2b2ae35;

/**
 * The contribution of one word.
 *
 * @param word the 32-bit word
 * @param position its index from the start of the job's range, in words, modulo 2^32
 * @returns a 32-bit integer, signed as JavaScript's bit operators leave it
 */
export function checksumTerm(word: number, position: number): number {
  let mixed = word ^ Math.imul(position + 1, POSITION_STEP);
  mixed = Math.imul(mixed ^ (mixed >>> 16), MIX_1);
  mixed = Math.imul(mixed ^ (mixed >>> 13), MIX_2);
  return mixed ^ (mixed >>> 16);
}

/**
 * The checksum of `count` words of `words` from index `first`.
 *
 * @param position index of the first word within the job's range, 0 for a whole range; sums over
 * the parts of a range add up to the sum over the range
 * @returns an unsigned 32-bit integer
 *
 * Context: no lock; never waits. Source: our own.
 */
export function checksumWords(
  words: Uint32Array,
  first: number,
  count: number,
  position: number,
): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum = (sum + checksumTerm(words[first + i]!, (position + i) | 0)) | 0;
  }
  return sum >>> 0;
}

/** The checksum of `count` whole pages of `words`, from page `page`. */
export function checksumPageRange(words: Uint32Array, page: number, count: number): number {
  return checksumWords(words, page * WORDS_PER_PAGE, count * WORDS_PER_PAGE, 0);
}
