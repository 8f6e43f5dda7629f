/*
 * Logarithmic axes: their range, where they have lines, and which lines have a number. uPlot's
 * own take whole decades, where most of a plot can be empty, and never end with other ranges than
 * those. And round numbers on a line, for what is drawn by hand.
 */

/** A little more than the data on both sides. */
export function paddedRange(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || min <= 0) return [0.1, 10];
  const factor = Math.max((max / min) ** 0.06, 1.1);
  return [min / factor, max * factor];
}

/**
 * The lines between `min` and `max`: powers of 2, or 1 to 9 times powers of 10; one in the middle
 * where the range is too narrow for any.
 */
export function logLines(log: 2 | 10, min: number, max: number): number[] {
  const factors = log === 2 ? [1] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const first = Math.floor(Math.log2(min) / Math.log2(log));
  const last = Math.ceil(Math.log2(max) / Math.log2(log));
  const powers = Array.from({ length: last - first + 1 }, (_, i) => log ** (first + i));
  const all = powers.flatMap((power) => factors.map((factor) => factor * power));
  const inside = all.filter((at) => at >= min && at <= max);
  return inside.length > 0 ? inside : [Math.sqrt(min * max)];
}

/**
 * Whether a line has a number: where they are few all, but no 7 and 9 below a power of ten, where
 * lines stand closest; else 1, 2 and 5; else whole decades.
 */
export function isNumbered(log: 2 | 10, at: number, lines: readonly number[]): boolean {
  if (log === 2 && lines.length <= 8) return true;
  if (log === 2) return Math.round(Math.log2(at / (lines[0] ?? at))) % 2 === 0;
  const power = 10 ** Math.floor(Math.log10(at) + 1e-9);
  const leading = Math.round(at / power);
  if (lines.length <= 8) {
    return (lines.at(-1) ?? 0) < power * 9.99 || (leading !== 7 && leading !== 9);
  }
  return leading === 1 || (lines.length <= 16 && (leading === 2 || leading === 5));
}

/** At most `most` round numbers from `min` to `max`: multiples of 1, 2 or 5 times a power of 10. */
export function linearTicks(min: number, max: number, most: number): number[] {
  if (!(max > min)) return [min];
  const power = 10 ** Math.floor(Math.log10((max - min) / most));
  const fits = [1, 2, 5, 10, 20].map((factor) => factor * power);
  for (const step of fits) {
    const first = Math.ceil(min / step);
    const count = Math.floor(max / step) - first + 1;
    if (count <= most) return Array.from({ length: count }, (_, i) => (first + i) * step);
  }
  return [min];
}

/** Without the zeros that only tables need: "10.0 ms" as "10 ms". */
export function short(text: string): string {
  return text.replace(/(\.\d*?)0+(?!\d)/, '$1').replace(/\.(?!\d)/, '');
}
