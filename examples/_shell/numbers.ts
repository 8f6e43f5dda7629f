/*
 * Numbers as text, in the units of the field.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB'];

/** Bytes in the largest binary unit that leaves at least 1: "64 KiB", "1.5 MiB". */
export function formatBytes(bytes: number): string {
  const step = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  return `${Number((bytes / 2 ** (10 * step)).toPrecision(4))} ${UNITS[step] ?? ''}`;
}

/** Milliseconds with three significant digits, in ns, µs, ms or s. */
export function formatMs(ms: number): string {
  if (ms === 0) return '0 ms';
  if (ms < 0.001) return `${digits(ms * 1e6)} ns`;
  if (ms < 1) return `${digits(ms * 1000)} µs`;
  return ms < 1000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`;
}

/** Three significant digits, never in exponent notation. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const places = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(places, 6));
}

/** A count with separators: "65,536". */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-GB');
}

/** A 32-bit word: "0x9e3779b9". */
export function hex32(word: number): string {
  return `0x${(word >>> 0).toString(16).padStart(8, '0')}`;
}

/** An address: "0x7f00_0000_1000" without the underscores. */
export function hexAddress(address: number): string {
  return `0x${address.toString(16)}`;
}

/** "1 page", "2 pages". */
export function plural(count: number, one: string): string {
  return `${formatCount(count)} ${one}${count === 1 ? '' : 's'}`;
}

/** The value below which the fraction `q` of `samples` lies (nearest rank); NaN for none. */
export function percentile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(q * sorted.length) - 1, 0)] ?? Number.NaN;
}
