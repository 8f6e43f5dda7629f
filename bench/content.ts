/**
 * What the benchmark writes into pages and expects to find again. Each page of each iteration of
 * each cell has content of its own: a word is base + i * step, both drawn from (cell seed,
 * iteration, page). A page at the wrong place, an old page, a shifted page and a page of zeroes
 * all fail. Device kernels add a constant to each word, which the check is told, so a copy that
 * was answered from a shadow of RAM fails too.
 *
 * Pages in RAM are compared word by word, all of them, never by sample. Of pages in device memory
 * the device computes a checksum each, which is compared with that of the content: so the pages
 * need not be brought home, by the very engine that is being looked at.
 */
import { checksumTerm } from '../src/index.ts';

const WORDS = 1024;
/** Overwrites memory whose content must not be taken for a result. */
const POISON = 0xdeadbeef;

/** Mixes three numbers into 32 bits (murmur3's finalizer over a running hash). */
function mix(seed: number, iteration: number, page: number): number {
  let hash = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ iteration, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 13) ^ page, 0x27d4eb2f);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** First word and step of a page's content. */
function parameters(seed: number, iteration: number, page: number): [base: number, step: number] {
  const base = mix(seed, iteration, page);
  return [base, mix(~seed, iteration, page) | 1];
}

/**
 * Writes the content of a page.
 *
 * @param words Memory by words. @param at Index of the page's first word.
 */
export function fillPage(
  words: Uint32Array,
  at: number,
  seed: number,
  iteration: number,
  page: number,
): void {
  const [base, step] = parameters(seed, iteration, page);
  let value = base;
  for (let i = at; i < at + WORDS; i++) {
    words[i] = value;
    value = (value + step) | 0;
  }
}

/**
 * Compares a page with its content plus `added`.
 *
 * @returns the index within the page of the first wrong word, or -1.
 */
export function checkPage(
  words: Uint32Array,
  at: number,
  seed: number,
  iteration: number,
  page: number,
  added: number,
): number {
  const [base, step] = parameters(seed, iteration, page);
  let value = (base + added) >>> 0;
  for (let i = 0; i < WORDS; i++) {
    if (words[at + i] !== value) return i;
    value = (value + step) >>> 0;
  }
  return -1;
}

/** The checksum that a page with its content plus `added` has. */
export function pageChecksum(seed: number, iteration: number, page: number, added: number): number {
  const [base, step] = parameters(seed, iteration, page);
  let value = (base + added) | 0;
  let sum = 0;
  for (let i = 0; i < WORDS; i++) {
    sum = (sum + checksumTerm(value, i)) | 0;
    value = (value + step) | 0;
  }
  return sum >>> 0;
}

/** Overwrites a page with a pattern that no content has. */
export function poisonPage(words: Uint32Array, at: number): void {
  words.fill(POISON, at, at + WORDS);
}

/** A seed for a named part of the run, the same for the same run seed and name (FNV-1a). */
export function seedFor(seed: number, name: string): number {
  let hash = seed ^ 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
