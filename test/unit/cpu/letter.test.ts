/* Letter boxes: what fits, and whose is whose. */
import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { ControlMap, LETTER_CHARS, MAX_CORES } from '../../../src/cpu/control.ts';
import { readLetter, writeLetter } from '../../../src/cpu/letter.ts';

const map = ControlMap.create(4);

describe('a letter', () => {
  test.each([
    [0],
    [null],
    ['text \u00e9 \u{1f600} "quoted"'],
    [['mmap', { length: 2 ** 47, prot: 3 }]],
    [{ deep: [[1.5, -0.25]] }],
  ])('comes as it went: %j', (value) => {
    expect(writeLetter(map, 1, value)).toBe(0);
    expect(readLetter(map, 1)).toEqual(value);
  });

  test('undefined comes as null, typed arrays as lists', () => {
    writeLetter(map, 1, undefined);
    expect(readLetter(map, 1)).toBeNull();
    writeLetter(map, 1, { bytes: Uint8Array.of(1, 255) });
    expect(readLetter(map, 1)).toEqual({ bytes: [1, 255] });
  });

  test('one that just fits, and one that is too long by a character', () => {
    const longest = 'x'.repeat(LETTER_CHARS - 2);
    expect(writeLetter(map, 1, longest)).toBe(0);
    expect(readLetter(map, 1)).toBe(longest);
    expect(writeLetter(map, 1, `${longest}x`)).toBe(errno.EOVERFLOW);
    expect(readLetter(map, 1)).toBe(longest);
  });

  test.each([0, MAX_CORES - 2])("boxes %d and the next don't touch", (slot) => {
    const longest = 'a'.repeat(LETTER_CHARS - 2);
    writeLetter(map, slot, longest);
    writeLetter(map, slot + 1, longest.replaceAll('a', 'b'));
    expect(readLetter(map, slot)).toBe(longest);
  });
});
