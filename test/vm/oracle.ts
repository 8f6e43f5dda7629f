/*
 * What a kernel must leave in memory: the small language run in JS with every page there, and how
 * memory is compared.
 */
import { expect } from 'vitest';
import { CpuVmEngine } from '../../src/engine/vm/cpu-vm.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { PTE_ALL, FORCE_NEVER } from '../../src/engine/vm/abi.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';

/** Memory after a run without a single fault. */
export function oracleOf(one: VmCase, seed = 7): Uint8Array {
  const pages = one.bytes.length / 4096;
  const engine = new CpuVmEngine(pages, seed);
  const space = new DeviceSpace(0);
  for (let page = 0; page < pages; page++) {
    engine.writeFrame(page, one.bytes.subarray(page * 4096, page * 4096 + 4096));
    space.mapPage(one.base + page * 4096, page, PTE_ALL);
  }
  const program = engine.compile(one.kernel, { slots: one.workgroups, logWords: 1 << 16 });
  if ('problems' in program) throw new Error(program.problems[0]!.reason);
  const fresh = Uint32Array.from({ length: one.workgroups * 2 }, (_, i) => i >>> 1);
  const run = program.launch(space, one.args);
  const work = { replays: new Uint32Array(), fresh, budget: 2 ** 30, forceAt: FORCE_NEVER };
  const result = run.pass(work) as { stopped: number };
  expect(result.stopped).toBe(0);
  return new Uint8Array(engine.memory.slice().buffer);
}

/** The first difference between two results, or '' where they mean the same. */
export function differenceOf(one: VmCase, got: Uint8Array, wanted: Uint8Array): string {
  const [a, b] = [normal(one, got), normal(one, wanted)];
  const words = [new Uint32Array(a.buffer), new Uint32Array(b.buffer)] as const;
  const index = words[0].findIndex((word, i) => word !== words[1][i]);
  if (index < 0) return '';
  const count = words[0].reduce((sum, word, i) => sum + Number(word !== words[1][i]), 0);
  return `${count} words differ, first ${index}: ${words[0][index]} for ${words[1][index]}`;
}

/** Fails with the first difference. */
export function expectMemory(one: VmCase, got: Uint8Array, wanted: Uint8Array): void {
  expect(differenceOf(one, got, wanted), one.name).toBe('');
}

/** Arrays of free order sorted. */
function normal(one: VmCase, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  for (const { offset, bytes: length } of one.free) {
    new Uint32Array(copy.buffer, offset, length / 4).sort();
  }
  return copy;
}
