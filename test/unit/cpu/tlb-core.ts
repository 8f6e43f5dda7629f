/*
 * A core in this thread, over the memory of a machine that nobody else uses: every page is mapped
 * beforehand or is an error, so that nothing has to be waited for.
 */
import { atomicsOf } from '../../../src/cpu/atomics-port.ts';
import { ControlMap } from '../../../src/cpu/control.ts';
import { makeCpu } from '../../../src/cpu/fast-cpu.ts';
import { FaultLatency } from '../../../src/cpu/fault-latency.ts';
import { newRecord, popRecord } from '../../../src/cpu/fault-ring.ts';
import type { ProgramCpu } from '../../../src/cpu/program.ts';
import { claimCore, requestFlush, signalCore } from '../../../src/cpu/shootdown.ts';
import { answerTrap } from '../../../src/cpu/trap.ts';
import { mmAlloc } from '../../../src/mm/fork.ts';
import { doMmap } from '../../../src/mm/mmap.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE } from '../../../src/mm/mm-types.ts';
import { createSystem } from '../../../src/mm/system.ts';
import { FAULT_SIGSEGV, copyToUser, faultInUser } from '../../../src/mm/uaccess.ts';

export interface TlbCore {
  readonly cpu: ProgramCpu;
  /** First byte of the mapping. */
  readonly base: number;
  readonly bytes: number;
  /** Faults that the kernel was asked for. */
  faults(): number;
  /** Lines that its program has printed. */
  lines(): number;
  /** Changes the permission of pages, without telling the core. */
  protect(addr: number, length: number, prot: number): void;
  /** Asks the core to drop its translations. */
  requestFlush(): void;
  /** Tells the core to end by a signal. */
  signal(signal: number): void;
}

/** A core with `pages` pages that it may load and store. */
export async function tlbCore(pages: number): Promise<TlbCore> {
  const sys = createSystem({ ramBytes: 2 ** 23, devicePages: 0 });
  if (typeof sys === 'number') throw new Error(`no machine: ${sys}`);
  const mm = mmAlloc(sys);
  if (typeof mm === 'number') throw new Error(`no address space: ${mm}`);
  const bytes = pages * 4096;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const base = await doMmap(mm, { addr: 0, length: bytes, prot: 3, flags, pgoff: 0 });
  await copyToUser(mm, base, new Uint8Array(bytes).fill(0xa5));
  const port = atomicsOf(() => performance.now());
  const map = ControlMap.create(4);
  const block = map.block(0);
  claimCore(port, map.words, block);
  const record = newRecord();
  let faults = 0;
  const answer = (): void => {
    while (popRecord(port, map, 0, record)) {
      faults++;
      const outcome = faultInUser(mm, record.address, record.access);
      answerTrap(port, map.words, block, typeof outcome === 'number' ? outcome : FAULT_SIGSEGV);
    }
  };
  const image = {
    slot: 0,
    serial: 1,
    ram: sys.ram.buffer,
    pageTables: sys.pageTables.words.buffer,
    control: map.words.buffer,
    ringCapacity: 4,
    latency: new FaultLatency().numbers.buffer,
    pgd: mm.pgd,
  };
  let lines = 0;
  const cpu = makeCpu(image, port, { ring: answer }, ({ kind }) => {
    if (kind === 'output') lines++;
  });
  cpu.resume();
  return {
    cpu,
    base,
    bytes,
    faults: () => faults,
    lines: () => lines,
    protect: (addr, length, prot) => {
      if (doMprotect(mm, addr, length, prot) !== 0) throw new Error('mprotect');
    },
    requestFlush: () => void requestFlush(port, map.words, block),
    signal: (signal) => signalCore(port, map.words, block, signal),
  };
}
