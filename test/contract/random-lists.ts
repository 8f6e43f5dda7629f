/*
 * Random good lists, as fast-check arbitraries that shrink job by job.
 */
import * as fc from 'fast-check';
import { CommandList } from '../../src/engine/command-list.ts';
import type { Bench } from './engine-harness.ts';

/** A job before it is known whether the list can take it. */
export interface JobSpec {
  readonly op: 'copy' | 'clear' | 'checksum' | 'add';
  /** Position in RAM followed by VRAM, in pages. */
  readonly source: number;
  readonly target: number;
  readonly count: number;
  readonly operand: number;
}

/** Jobs for a bench with `pages` pages of each memory; half of them crowd into a few pages. */
export function jobSpecs(pages: number): fc.Arbitrary<JobSpec[]> {
  const place = fc.oneof(
    fc.nat(2 * pages - 1),
    fc.nat(23),
    fc.nat(23).map((page) => pages + page),
  );
  const op = fc.constantFrom<JobSpec['op'][]>('copy', 'copy', 'copy', 'clear', 'checksum', 'add');
  const job = fc.record({
    op,
    source: place,
    target: place,
    count: fc.oneof(
      fc.constant(1),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 600 }),
    ),
    operand: fc.integer({ min: 0, max: 0xffffffff }),
  });
  return fc.array(job, { maxLength: 60 });
}

/** The list of those jobs that fit together; the others are left out. */
export function listFromSpecs(specs: readonly JobSpec[], bench: Bench): CommandList {
  const list = new CommandList(Math.max(1, specs.length));
  const read = new Set<number>();
  const written = new Set<number>();
  for (const spec of specs) {
    const source = toRange(spec.source, spec.count, bench);
    const target = toRange(spec.target, spec.count, bench);
    const count = Math.min(
      spec.op === 'clear' || spec.op === 'add' ? Infinity : source.count,
      spec.op === 'checksum' ? Infinity : target.count,
    );
    const reads = spec.op === 'copy' || spec.op === 'checksum' ? source.first : -1;
    const writes = spec.op === 'checksum' ? -1 : target.first;
    if (spec.op === 'add' && writes < bench.vram.first) continue;
    if (!isFree(reads, writes, count, read, written)) continue;
    for (let i = 0; i < count; i++) {
      if (reads >= 0) read.add(reads + i);
      if (writes >= 0) written.add(writes + i);
    }
    if (spec.op === 'copy') list.copy(reads, writes, count);
    if (spec.op === 'clear') list.clear(writes, count);
    if (spec.op === 'checksum') list.checksum(reads, count);
    if (spec.op === 'add') list.add(writes, spec.operand, count);
  }
  return list;
}

function toRange(place: number, count: number, bench: Bench): { first: number; count: number } {
  const { host, vram } = bench;
  const inHost = place < host.count;
  const first = inHost ? host.first + place : vram.first + place - host.count;
  const end = inHost ? host.first + host.count : vram.first + vram.count;
  return { first, count: Math.min(count, end - first) };
}

function isFree(
  reads: number,
  writes: number,
  count: number,
  read: ReadonlySet<number>,
  written: ReadonlySet<number>,
): boolean {
  for (let i = 0; i < count; i++) {
    if (reads >= 0 && written.has(reads + i)) return false;
    if (writes >= 0 && (written.has(writes + i) || read.has(writes + i))) return false;
  }
  return reads < 0 || writes < 0 || Math.abs(reads - writes) >= count;
}
