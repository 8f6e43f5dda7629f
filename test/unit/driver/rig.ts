/**
 * A small machine on the CPU engine, for tests of the driver: real mm, real driver, real copies.
 */
import { expect } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { bootMachine } from '../../../src/index.ts';
import type {
  DmirrorCommand,
  LocalMachine,
  MachineOptions,
  Process,
  TestDevice,
} from '../../../src/index.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/index.ts';

export const MIB = 2 ** 20;
export const RW = PROT_READ | PROT_WRITE;

export interface Rig {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly device: TestDevice;
}

/** Boots a machine with one process that has device 0 open. */
export async function makeRig(options: MachineOptions = {}): Promise<Rig> {
  const machine = await bootMachine({
    engine: 'cpu',
    ramBytes: 8 * MIB,
    deviceBytes: 2 * MIB,
    chunkBytes: MIB,
    ...options,
  });
  const process = await machine.spawn();
  const device = await process.openDevice(0);
  return { machine, process, device };
}

/** Maps `npages` and fills word k of the range with k + base. */
export async function mapFilled({ process }: Rig, npages: number, base = 0): Promise<number> {
  const addr = await process.mmap({ length: npages * PAGE_SIZE, prot: RW });
  await process.write(addr, pattern(npages, base));
  return addr;
}

/** Bytes of a range whose word k is k + base. */
export function pattern(npages: number, base: number): Uint8Array {
  const words = new Uint32Array((npages * PAGE_SIZE) / 4);
  for (let k = 0; k < words.length; k++) words[k] = (k + base) >>> 0;
  return new Uint8Array(words.buffer);
}

/** Compares many pages: `toEqual` takes 3 ms a page, and prints them all. */
export function expectBytes(actual: Uint8Array, wanted: Uint8Array): void {
  expect(actual.length).toBe(wanted.length);
  const at = actual.findIndex((byte, i) => byte !== wanted[i]);
  expect(at < 0 ? 'all' : `byte ${at} is ${actual[at]}, not ${wanted[at]}`).toBe('all');
}

/** Runs a command and gives errno, pages done and fault rounds as one line. */
export async function run(
  device: TestDevice,
  command: DmirrorCommand,
  addr: number,
  npages: number,
  ptr = 0,
): Promise<string> {
  const result = await device.tryIoctl(command, { addr, npages, ptr });
  return `${result.errno} ${result.cpages} ${result.faults}`;
}
