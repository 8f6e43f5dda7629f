/*
 * Another process of the machine that a kernel runs on, which has to go on whatever becomes of it.
 */
import { errnoName, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { Machine, Process, TestDevice } from '../../src/index.ts';

const BYTES = 2 * PAGE_SIZE;
const PATTERN = Uint8Array.from({ length: BYTES }, (_, i) => (i * 7) % 251);

/** A process with memory of its own, and a file of the same device. */
export class Witness implements AsyncDisposable {
  private readonly process: Process;
  private readonly device: TestDevice;
  private readonly addr: number;

  private constructor(process: Process, device: TestDevice, addr: number) {
    this.process = process;
    this.device = device;
    this.addr = addr;
  }

  /** It has its pages in RAM, so that a device that is lost takes nothing of it along. */
  static async open(machine: Machine): Promise<Witness> {
    const process = await machine.spawn();
    const device = await process.openDevice(0);
    const addr = await process.mmap({ length: 2 * BYTES, prot: PROT_READ | PROT_WRITE });
    await process.write(addr, PATTERN);
    return new Witness(process, device, addr);
  }

  /** @returns what is left of it, as a sentence */
  async testify(): Promise<string> {
    const { device, addr } = this;
    const memory = (await this.reads(addr)) ? 'has its memory as it was' : 'HAS LOST ITS MEMORY';
    const who = `Another process of the machine ${memory}`;
    const to = addr + BYTES;
    const request = { addr, npages: BYTES / PAGE_SIZE, ptr: to };
    const { errno: code } = await device.tryIoctl('READ', request);
    if (code !== 0) return `${who}; the device answers it ${errnoName(code)}.`;
    return `${who}, and the device ${(await this.reads(to)) ? 'serves it' : 'READS IT WRONG'}.`;
  }

  private async reads(addr: number): Promise<boolean> {
    const bytes = await this.process.read(addr, BYTES);
    return bytes.every((byte, i) => byte === PATTERN[i]);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}
