/*
 * What a core's TLB may never do: touch a byte that the address does not name, use a translation
 * past a flush, or go on for long without looking for one.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { CORE_REQUEST, CORE_STATUS, statusAcknowledged } from '../../../src/cpu/control.ts';
import type { ProgramCpu } from '../../../src/cpu/program.ts';
import { CoreEnded, CpuSignal, SIGKILL } from '../../../src/cpu/signals.ts';
import { expectBytes } from '../driver/rig.ts';
import { tlbCore } from './tlb-core.ts';
import type { TlbCore } from './tlb-core.ts';

const PAGE = 4096;
const PAGES = 4;

type Load = (cpu: ProgramCpu, addr: number) => number | bigint;
type Store = (cpu: ProgramCpu, addr: number, value: number) => void;

const LOADS: readonly [name: string, bytes: number, load: Load, model: keyof DataView][] = [
  ['load8', 1, (cpu, addr) => cpu.load8(addr), 'getUint8'],
  ['load16', 2, (cpu, addr) => cpu.load16(addr), 'getUint16'],
  ['load32', 4, (cpu, addr) => cpu.load32(addr), 'getUint32'],
  ['load64', 8, (cpu, addr) => cpu.load64(addr), 'getBigUint64'],
  ['loadF32', 4, (cpu, addr) => cpu.loadF32(addr), 'getFloat32'],
  ['loadF64', 8, (cpu, addr) => cpu.loadF64(addr), 'getFloat64'],
];

const STORES: readonly [name: string, bytes: number, store: Store, model: keyof DataView][] = [
  ['store8', 1, (cpu, addr, value) => cpu.store8(addr, value), 'setUint8'],
  ['store16', 2, (cpu, addr, value) => cpu.store16(addr, value), 'setUint16'],
  ['store32', 4, (cpu, addr, value) => cpu.store32(addr, value), 'setUint32'],
  ['store64', 8, (cpu, addr, value) => cpu.store64(addr, BigInt(value)), 'setBigUint64'],
  ['storeF32', 4, (cpu, addr, value) => cpu.storeF32(addr, value), 'setFloat32'],
  ['storeF64', 8, (cpu, addr, value) => cpu.storeF64(addr, value), 'setFloat64'],
];

/** Calls a method of DataView, little endian. */
function model(view: DataView, name: keyof DataView, ...args: unknown[]): unknown {
  return (view[name] as (...all: unknown[]) => unknown).call(view, ...args, true);
}

/** Every offset near the edges of pages, and some within. */
function offsets(bytes: number): number[] {
  const near = Array.from({ length: 17 }, (_, i) => PAGE - 8 + i);
  return [0, 1, 2, 3, 4, 6, 8, 100, ...near, 2 * PAGE - 4, 3 * PAGE - 1, PAGES * PAGE - bytes];
}

function signalOf(access: () => unknown): string {
  try {
    access();
  } catch (error) {
    if (error instanceof CpuSignal) return error.signal;
    throw error;
  }
  return '';
}

describe('TLB of a core', () => {
  let core: TlbCore;
  let view: DataView;
  let seen: Uint8Array;

  beforeEach(async () => {
    core = await tlbCore(PAGES);
    seen = new Uint8Array(core.bytes);
    const random = new Prng(1);
    for (let i = 0; i < seen.length; i++) seen[i] = random.nextU32();
    core.cpu.write(core.base, seen);
    view = new DataView(seen.buffer);
  });

  const contents = (): Uint8Array => {
    const bytes = new Uint8Array(core.bytes);
    core.cpu.read(core.base, bytes);
    return bytes;
  };

  test.each(LOADS)('%s reads the bytes at its address, aligned or not', (_, bytes, load, name) => {
    for (let round = 0; round < 2; round++) {
      for (const at of offsets(bytes)) {
        expect(load(core.cpu, core.base + at), `offset ${at}`).toEqual(model(view, name, at));
      }
    }
  });

  test.each(STORES)('%s writes the bytes at its address, no others', (_, bytes, store, name) => {
    for (const [i, at] of offsets(bytes).entries()) {
      store(core.cpu, core.base + at, 0x9e37 + i);
      model(view, name, at, name === 'setBigUint64' ? BigInt(0x9e37 + i) : 0x9e37 + i);
    }
    expectBytes(contents(), seen);
  });

  test('what is no address of the process is SIGSEGV, and nothing is changed', () => {
    const { cpu, base, bytes } = core;
    // The pages are in the TLB.
    contents();
    cpu.fill(base, 1, seen[0]!);
    const bad = [
      base + 0.5,
      base + PAGE - 0.25,
      NaN,
      Infinity,
      -Infinity,
      -1,
      -4096,
      -(2 ** 47) + base,
      base - 2 ** 32,
      base + 2 ** 32,
      base + 2 ** 47,
      base + 2 ** 48,
      2 ** 47,
      2 ** 53,
      base + bytes,
      base - 8,
    ];
    for (const addr of bad) {
      for (const [name, , load] of LOADS) {
        expect(
          signalOf(() => load(cpu, addr)),
          `${name} ${addr}`,
        ).toBe('SIGSEGV');
      }
      for (const [name, , store] of STORES) {
        expect(
          signalOf(() => store(cpu, addr, 1)),
          `${name} ${addr}`,
        ).toBe('SIGSEGV');
      }
      const bulk: (() => unknown)[] = [
        () => cpu.read(addr, new Uint8Array(8)),
        () => cpu.write(addr, new Uint8Array(8)),
        () => cpu.fill(addr, 8, 0),
        () => cpu.copy(addr, base, 8),
        () => cpu.copy(base, addr, 8),
      ];
      if ((addr & 3) === 0) bulk.push(() => cpu.atomicStore(addr, 1));
      for (const access of bulk) expect(signalOf(access), `bulk ${addr}`).toBe('SIGSEGV');
    }
    expectBytes(contents(), seen);
  });

  test('an access into the page behind the mapping leaves its first bytes alone', () => {
    const { cpu, base, bytes } = core;
    expect(signalOf(() => cpu.store32(base + bytes - 2, 0))).toBe('SIGSEGV');
    expect(signalOf(() => cpu.load32(base + bytes - 2))).toBe('SIGSEGV');
    expectBytes(contents(), seen);
  });

  test('a page that can only be read is not stored to, though it is in the TLB for loads', () => {
    const { cpu, base } = core;
    core.protect(base, PAGE, 1);
    core.requestFlush();
    cpu.poll();
    expect(cpu.load32(base)).toBe(view.getUint32(0, true));
    expect(signalOf(() => cpu.store32(base, 1))).toBe('SIGSEGV');
    expect(cpu.load32(base)).toBe(view.getUint32(0, true));
  });

  test('a hit hears of a request, drops translations and says so', () => {
    const { cpu, base } = core;
    const { words } = cpu.control;
    const block = cpu.control.block(0);
    const acknowledged = (): number => statusAcknowledged(words[block + CORE_STATUS]!);
    cpu.load32(base);
    cpu.poll();
    core.protect(base, PAGE, 0);
    core.requestFlush();
    expect(signalOf(() => cpu.load32(base))).toBe('SIGSEGV');
    expect(acknowledged()).toBe(words[block + CORE_REQUEST]!);
  });

  test('a program that was told to end gets no further, however often it catches that', () => {
    const { cpu, base } = core;
    const word = cpu.findWrite(base);
    core.signal(SIGKILL);
    for (let round = 0; round < 3; round++) {
      expect(() => cpu.load32(base)).toThrow(CoreEnded);
      expect(() => cpu.store32(base, 1)).toThrow(CoreEnded);
      expect(() => cpu.atomicAdd(base, 1)).toThrow(CoreEnded);
      expect(() => cpu.fill(base, PAGE, 1)).toThrow(CoreEnded);
    }
    expect(cpu.memory.u32[word]).toBe(view.getUint32(0, true));
  });

  test('nor does it reach the kernel, or have anything printed', () => {
    const { cpu, base } = core;
    core.signal(SIGKILL);
    expect(() => cpu.load32(base)).toThrow(CoreEnded);
    const traps = cpu.traps;
    const heard = core.faults();
    let computed = 0;
    const calls: (() => unknown)[] = [
      () => cpu.syscall('getpid'),
      () => cpu.munmap(base, PAGE),
      () => cpu.fork('./child.js'),
      () => cpu.prefetch(base, PAGE),
      () => cpu.print('still here'),
      () => cpu.sleep(1e9),
      () => cpu.compute(() => computed++),
      () => cpu.suspend(),
      () => cpu.load32(base + 2 ** 30),
    ];
    for (const call of [...calls, ...calls]) expect(call, String(call)).toThrow(CoreEnded);
    expect([cpu.traps, core.faults(), core.lines(), computed]).toEqual([traps, heard, 0, 0]);
  });

  test('one that was not told to prints, computes and asks the kernel', () => {
    const { cpu, base } = core;
    const heard = core.faults();
    cpu.print('here');
    expect(cpu.compute(() => 7)).toBe(7);
    cpu.sleep(0);
    cpu.prefetch(base, PAGE);
    expect([core.faults() - heard, core.lines()]).toEqual([1, 1]);
  });

  test('pages that the TLB holds in the same place do not hide each other', async () => {
    const wide = await tlbCore(1024 + PAGES);
    // Places repeat after at most 1024 pages.
    for (const far of [256, 512, 1024]) {
      wide.cpu.store32(wide.base, 1);
      wide.cpu.store32(wide.base + far * PAGE, 2);
      expect(wide.cpu.load32(wide.base)).toBe(1);
      expect(wide.cpu.load32(wide.base + far * PAGE)).toBe(2);
    }
  });

  test('bulk operations across pages go over a page that may not be touched', () => {
    const { cpu, base } = core;
    contents();
    core.protect(base + 2 * PAGE, PAGE, 0);
    core.requestFlush();
    const target = new Uint8Array(3 * PAGE);
    expect(signalOf(() => cpu.read(base, target))).toBe('SIGSEGV');
    expectBytes(target.subarray(0, 2 * PAGE), seen.subarray(0, 2 * PAGE));
    expect(target.subarray(2 * PAGE).every((byte) => byte === 0)).toBe(true);
  });

  test('a second look at pages that the TLB holds asks nobody', () => {
    const before = core.faults();
    contents();
    for (let at = 0; at < core.bytes; at += 4) core.cpu.load32(core.base + at);
    expect(core.faults()).toBe(before);
  });
});
