/*
 * Page content: every way in which a copy can go wrong must show.
 */
import { describe, expect, test } from 'vitest';
import { checksumPageRange } from '../../../src/engine/checksum.ts';
import { checkPage, fillPage, pageChecksum, poisonPage, seedFor } from '../../../bench/content.ts';

const WORDS = 1024;

/** Two pages with the content of pages 0 and 1. */
function twoPages(seed = 7, iteration = 3): Uint32Array {
  const words = new Uint32Array(2 * WORDS);
  fillPage(words, 0, seed, iteration, 0);
  fillPage(words, WORDS, seed, iteration, 1);
  return words;
}

describe('page content', () => {
  test('a page that was filled is right', () => {
    const words = twoPages();
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBe(-1);
    expect(checkPage(words, WORDS, 7, 3, 1, 0)).toBe(-1);
  });

  test.each([0, 1, 511, 1023])('one wrong word, number %i, is found', (at) => {
    const words = twoPages();
    words[at]! ^= 0x100;
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBe(at);
  });

  test('another page, another iteration, another seed are wrong', () => {
    const words = twoPages();
    expect(checkPage(words, 0, 7, 3, 1, 0)).toBe(0);
    expect(checkPage(words, 0, 7, 4, 0, 0)).toBe(0);
    expect(checkPage(words, 0, 8, 3, 0, 0)).toBe(0);
  });

  test('a page shifted by a word is wrong', () => {
    const words = twoPages();
    words.copyWithin(1, 0, WORDS - 1);
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBeGreaterThanOrEqual(0);
  });

  test('zeroes and poison are wrong', () => {
    const words = new Uint32Array(WORDS);
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBe(0);
    poisonPage(words, 0);
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBe(0);
  });

  test('a constant that a device added is expected in each word, modulo 2^32', () => {
    const words = twoPages();
    const added = 0xfedcba98;
    for (let i = 0; i < WORDS; i++) words[i]! += added;
    expect(checkPage(words, 0, 7, 3, 0, added)).toBe(-1);
    expect(checkPage(words, 0, 7, 3, 0, 0)).toBe(0);
  });

  test.each([0, 1, 0xfedcba98])('its checksum is that of its words, plus %i', (added) => {
    const words = twoPages();
    for (let i = 0; i < words.length; i++) words[i]! += added;
    expect(pageChecksum(7, 3, 0, added)).toBe(checksumPageRange(words, 0, 1));
    expect(pageChecksum(7, 3, 1, added)).toBe(checksumPageRange(words, 1, 1));
    expect(pageChecksum(7, 3, 1, added + 1)).not.toBe(checksumPageRange(words, 1, 1));
  });

  test('poisoning stays within its page', () => {
    const words = twoPages();
    poisonPage(words, 0);
    expect(checkPage(words, WORDS, 7, 3, 1, 0)).toBe(-1);
  });

  test('seeds of different names differ, of the same name agree', () => {
    expect(seedFor(1, 'a')).toBe(seedFor(1, 'a'));
    expect(seedFor(1, 'a')).not.toBe(seedFor(1, 'b'));
    expect(seedFor(1, 'a')).not.toBe(seedFor(2, 'a'));
  });
});
