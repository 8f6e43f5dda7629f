/*
 * Numbers as the pages write them, and where logarithmic axes have lines and numbers.
 */
import { describe, expect, test } from 'vitest';
import { isNumbered, logLines, paddedRange, short } from '../../../examples/_shell/axis.ts';
import {
  digits,
  formatBytes,
  formatMs,
  hex32,
  hexAddress,
  percentile,
  plural,
} from '../../../examples/_shell/numbers.ts';

describe('numbers', () => {
  test('bytes take the largest unit that leaves at least 1', () => {
    const cases = [0, 1023, 1024, 4096, 1536, 2 ** 20 - 1024, 2 ** 20, 2 ** 30, 2 ** 41];
    const texts = ['0 B', '1023 B', '1 KiB', '4 KiB', '1.5 KiB', '1023 KiB'];
    expect(cases.map(formatBytes)).toEqual([...texts, '1 MiB', '1 GiB', '2048 GiB']);
  });

  test('times change unit at 1 µs, 1 ms and 1 s, with three digits', () => {
    const cases = [0, 0.000_5, 0.001, 0.999, 1, 12.345, 999, 1000, 61_000];
    const texts = ['0 ms', '500 ns', '1.00 µs', '999 µs', '1.00 ms', '12.3 ms', '999 ms', '1.00 s'];
    expect(cases.map(formatMs)).toEqual([...texts, '61.0 s']);
  });

  test('three digits never become an exponent', () => {
    expect([0, 0.000_123_4, 0.05, 1234, 1e9].map(digits)).toEqual([
      '0',
      '0.000123',
      '0.0500',
      '1234',
      '1000000000',
    ]);
    expect(digits(Number.NaN)).toBe('NaN');
  });

  test('words are unsigned, addresses have no padding', () => {
    expect([0, -1, 2 ** 32 - 1, 0x1234].map(hex32)).toEqual([
      '0x00000000',
      '0xffffffff',
      '0xffffffff',
      '0x00001234',
    ]);
    expect(hexAddress(0x7fff_f7fc_0000)).toBe('0x7ffff7fc0000');
  });

  test('one page, two pages', () => {
    expect([0, 1, 2, 65_536].map((n) => plural(n, 'page'))).toEqual([
      '0 pages',
      '1 page',
      '2 pages',
      '65,536 pages',
    ]);
  });

  test('a percentile is one of the samples, by nearest rank', () => {
    const samples = [5, 1, 4, 2, 3];
    expect([0, 0.2, 0.21, 0.5, 0.9, 1].map((q) => percentile(samples, q))).toEqual([
      1, 1, 2, 3, 5, 5,
    ]);
    expect(percentile([7], 0.5)).toBe(7);
    expect(percentile([], 0.5)).toBeNaN();
    expect(samples).toEqual([5, 1, 4, 2, 3]);
  });
});

describe('logarithmic axes', () => {
  test('the range holds the data with a little room on both sides', () => {
    const [low, high] = paddedRange(4, 4096);
    expect(low).toBeGreaterThan(2);
    expect(low).toBeLessThan(4);
    expect(high).toBeGreaterThan(4096);
    expect(high).toBeLessThan(8192);
    expect(paddedRange(null, null)).toEqual([0.1, 10]);
    expect(paddedRange(0, 5)).toEqual([0.1, 10]);
  });

  test('lines are powers of 2, or 1 to 9 times powers of 10, and none is outside', () => {
    expect(logLines(2, 3.9, 64.1)).toEqual([4, 8, 16, 32, 64]);
    const around1 = logLines(10, 0.8, 3).map((x) => Number(x.toPrecision(9)));
    expect(around1).toEqual([0.8, 0.9, 1, 2, 3]);
    expect(logLines(10, 250, 420)).toEqual([300, 400]);
  });

  test('a range too narrow for a line has one in its middle', () => {
    expect(logLines(2, 4.5, 7)).toEqual([Math.sqrt(31.5)]);
    expect(logLines(10, 210, 290)).toEqual([Math.sqrt(60_900)]);
  });

  test('few lines have all their numbers, more 1, 2 and 5, many whole decades', () => {
    const numbered = (min: number, max: number): number[] => {
      const lines = logLines(10, min, max);
      return lines.filter((at) => isNumbered(10, at, lines));
    };
    expect(numbered(250, 850)).toEqual([300, 400, 500, 600, 700, 800]);
    expect(numbered(4.5, 22)).toEqual([5, 6, 8, 10, 20]);
    expect(numbered(8, 95)).toEqual([10, 20, 50]);
    expect(numbered(0.5, 150).map((x) => Number(x.toPrecision(3)))).toEqual([1, 10, 100]);
    const powers = logLines(2, 1, 512);
    expect(powers.filter((at) => isNumbered(2, at, powers))).toEqual([1, 4, 16, 64, 256]);
  });

  test('axis numbers lose the zeros that tables keep', () => {
    expect(['10.0 ms', '1.50 µs', '0.0500', '100', '20.0', '4 KiB'].map(short)).toEqual([
      '10 ms',
      '1.5 µs',
      '0.05',
      '100',
      '20',
      '4 KiB',
    ]);
  });
});
