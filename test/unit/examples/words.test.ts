/*
 * The first migration's words say what was seen, and nothing that was not.
 */
import { describe, expect, test } from 'vitest';
import { addedWords, mappedWords } from '../../../examples/01-first-migration/words.ts';
import { migratedWords, sawMigration } from '../../../examples/01-first-migration/words.ts';
import { touchedWords, writtenWords } from '../../../examples/01-first-migration/words.ts';
import { PAGE_DEVICE, PAGE_MIGRATING, PAGE_NONE, PAGE_RAM } from '../../../src/index.ts';

const codes = (...all: number[]): Uint8Array => Uint8Array.from(all);

describe("the first migration's words", () => {
  test('count the pages that have memory', () => {
    expect(mappedWords(codes(PAGE_NONE, PAGE_NONE))).toBe('2 of 2 pages without memory.');
    expect(writtenWords(codes(PAGE_RAM, PAGE_NONE))).toBe('1 of 2 pages now in RAM.');
    expect(touchedWords(codes(PAGE_RAM, PAGE_DEVICE))).toMatch(/Now 1 of 2 pages in RAM\.$/);
  });

  test('tell of migration entries only when there were some', () => {
    const after = codes(PAGE_DEVICE, PAGE_DEVICE + 1);
    const during = codes(PAGE_MIGRATING, PAGE_RAM);
    expect(sawMigration(during)).toBe(true);
    expect(migratedWords(2, during, after)).toMatch(/stood in for 1 of 2 pages \(first line\)/);
    expect(sawMigration(after)).toBe(false);
    expect(migratedWords(2, after, after)).not.toMatch(/stood in|first line/);
    expect(migratedWords(2, after, after)).toMatch(/of\s+2 of 2 pages name device memory/);
  });

  test('count the entries that name device memory, not the pages that were asked for', () => {
    const after = codes(PAGE_DEVICE, PAGE_RAM);
    expect(migratedWords(1, after, after)).toMatch(/^1 page copied.*of\s+1 of 2 pages name/s);
  });

  test('name WGSL on the WebGPU engine alone', () => {
    expect(addedWords('webgpu', '0x1')).toMatch(/^A WGSL kernel added 0x1/);
    expect(addedWords('cpu', '0x1')).toMatch(/^The CPU engine, in place of a GPU, added 0x1/);
  });
});
