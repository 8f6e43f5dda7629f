/*
 * The page checksum: what it must notice, and that parts add up.
 */
import { expect, it } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { checksumPageRange, checksumTerm, checksumWords } from '../../../src/engine/checksum.ts';

const noise = (words: number, seed: number): Uint32Array => {
  const prng = new Prng(seed);
  return Uint32Array.from({ length: words }, () => prng.nextU32());
};

it('sums over parts add up to the sum over the range', () => {
  const words = noise(3 * 1024, 1);
  const whole = checksumPageRange(words, 0, 3);
  for (const cut of [1, 1023, 1024, 1500, 3071]) {
    const head = checksumWords(words, 0, cut, 0);
    const tail = checksumWords(words, cut, words.length - cut, cut);
    expect((head + tail) >>> 0).toBe(whole);
  }
});

it('notices two swapped words, also when they differ in one bit only', () => {
  const prng = new Prng(2);
  let unseen = 0;
  for (let round = 0; round < 3000; round++) {
    const words = noise(64, round);
    const i = prng.below(64);
    const j = (i + 1 + prng.below(63)) % 64;
    // The top bit is the hardest: a weaker mixer let every second such swap pass.
    const bit = round % 2 === 0 ? 31 : prng.below(32);
    words[j] = (words[i]! ^ (1 << bit)) >>> 0;
    const before = checksumWords(words, 0, 64, 0);
    [words[i], words[j]] = [words[j], words[i]!];
    if (checksumWords(words, 0, 64, 0) === before) unseen += 1;
  }
  expect(unseen).toBe(0);
});

it('notices two swapped pages', () => {
  const words = noise(2048, 3);
  const swapped = new Uint32Array(2048);
  swapped.set(words.subarray(1024), 0);
  swapped.set(words.subarray(0, 1024), 1024);
  expect(checksumPageRange(swapped, 0, 2)).not.toBe(checksumPageRange(words, 0, 2));
  expect(checksumPageRange(words, 0, 1)).toBe(checksumPageRange(swapped, 1, 1));
});

it('notices a last word that was not summed, zero or not', () => {
  const words = noise(1024, 4);
  expect(checksumWords(words, 0, 1023, 0)).not.toBe(checksumPageRange(words, 0, 1));
  words[1023] = 0;
  expect(checksumWords(words, 0, 1023, 0)).not.toBe(checksumPageRange(words, 0, 1));
});

it('notices every single flipped bit of a page', () => {
  const words = noise(1024, 5);
  const before = checksumPageRange(words, 0, 1);
  for (let word = 0; word < 1024; word += 31) {
    for (let bit = 0; bit < 32; bit++) {
      words[word] = (words[word]! ^ (1 << bit)) >>> 0;
      expect(checksumPageRange(words, 0, 1)).not.toBe(before);
      words[word] = (words[word]! ^ (1 << bit)) >>> 0;
    }
  }
  expect(checksumPageRange(words, 0, 1)).toBe(before);
});

it('tells zero pages of different lengths apart, and counts positions modulo 2^32', () => {
  const zeroes = new Uint32Array(2048);
  expect(checksumPageRange(zeroes, 0, 1)).not.toBe(checksumPageRange(zeroes, 0, 2));
  expect(checksumTerm(7, 2 ** 32 - 1)).toBe(checksumTerm(7, -1));
  expect(checksumTerm(7, 2 ** 31)).not.toBe(checksumTerm(7, 0));
});
