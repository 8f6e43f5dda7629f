/*
 * The fixtures `hmm` and `hmm2` of tools/testing/selftests/mm/hmm-tests.c: what a test body gets.
 *
 * A fixture is a fresh process with its devices open. Everything a body does goes through the
 * facade, as a program would do it: it maps, stores, loads and calls ioctl, and knows nothing of
 * what lies below. A buffer is the kernel's struct hmm_buffer: the range under test, a second one
 * (`mirror`) that the device copies to or from, and the counts of the last command that succeeded.
 */
import {
  errno,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PAGE_DEVICE,
  PAGE_EXCLUSIVE,
  PAGE_MIGRATING,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_SIZE,
  PAGE_ZERO,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { DmirrorCommand, Machine, Process, TestDevice, TmpFile } from '../../src/index.ts';
import { Checks } from './checks.ts';
import type { Pattern } from './checks.ts';
import type { Instance } from './selftest.ts';

/** Pages of the usual buffer: 4 MiB. */
export const BUFFER_PAGES = 1024;
/** Rounds of the tests that repeat themselves. */
export const NTIMES = 10;
/** How often a benchmark measures. */
export const BENCHMARK_ROUNDS = 5;
/** 32-bit words of a page. */
export const PAGE_WORDS = PAGE_SIZE / 4;

/** Word i holds i. */
export const index: Pattern = (i) => i;
/** Word i holds -i. */
export const negative: Pattern = (i) => -i;
/** Every word is 0. */
export const zero: Pattern = () => 0;

/** struct hmm_buffer. */
export interface HmmBuffer {
  /** Address of the range under test. */
  ptr: number;
  /** Address of the memory that the device copies to or from; as large. */
  readonly mirror: number;
  readonly npages: number;
  /** Outputs of the last command that succeeded. */
  cpages: number;
  faults: number;
}

export interface BufferOptions {
  /** Protection of the range under test. Default: read and write. */
  readonly prot?: number;
  /** Its MAP_* flags. Default: private and anonymous. */
  readonly flags?: number;
  /** What is mapped, where the flags are not anonymous: a file, or a device. */
  readonly fd?: number;
}

/** What a command that succeeds is expected to report, and where it is to work. */
export interface CommandExpectation {
  /** Default: the pages asked for. */
  readonly cpages?: number;
  /** Not checked where absent, as in the kernel's test. */
  readonly faults?: number;
  /** First page of the buffer to work on. Default 0. */
  readonly first?: number;
}

/** Values of the machine's vm counters at some moment. */
export type VmCounts = Readonly<Record<string, number>>;

export class HmmTest extends Checks {
  readonly machine: Machine;
  /** How often a benchmark measures, after a round to warm up. */
  readonly rounds: number;
  private readonly instance: Instance;
  private readonly processes: Process[] = [];
  private readonly openDevices = new Set<TestDevice>();
  private readonly fixtureDevices: TestDevice[] = [];
  private readonly files: TmpFile[] = [];

  constructor(machine: Machine, instance: Instance, rounds: number) {
    super(instance.selftest.name);
    this.machine = machine;
    this.rounds = rounds;
    this.instance = instance;
  }

  /** FIXTURE_SETUP: a process, and its devices open. */
  async setUp(): Promise<void> {
    const process = await this.spawn();
    for (const minor of this.instance.minors) {
      this.fixtureDevices.push(await this.open(process, minor));
    }
  }

  /** FIXTURE_TEARDOWN: every device closes without an error, and the processes end. */
  async tearDown(): Promise<void> {
    for (const device of this.openDevices) await device.close();
    for (const file of this.files) await file.close();
    for (const process of this.processes.toReversed()) await process.exit();
  }

  /** True on coherent devices: the CPU uses their pages where they are. */
  get isCoherent(): boolean {
    return this.instance.variant === 'coherent';
  }

  /** Number of the first device of the fixture. */
  get minor(): number {
    return this.instance.minors[0]!;
  }

  /** Device pages that come home when the CPU touches `npages` of them: none of coherent memory. */
  faultedHome(npages: number): number {
    return this.isCoherent ? 0 : npages;
  }

  /** Where `where` says, as `assertWhere` takes it, after the CPU has touched the pages. */
  touched(where: string): string {
    return this.isCoherent ? where : where.replaceAll(/[01]/g, 'r');
  }

  /** The process of the fixture. */
  get process(): Process {
    return this.processes[0]!;
  }

  /** The first device of the fixture. */
  get fd(): TestDevice {
    return this.fixtureDevices[0]!;
  }

  /** The second device of a fixture with two. */
  get fd1(): TestDevice {
    return this.fixtureDevices[1]!;
  }

  /** Another process, which ends with the test. */
  async spawn(): Promise<Process> {
    const process = await this.machine.spawn();
    this.processes.push(process);
    return process;
  }

  /** A child of `parent`, which ends with the test. */
  async fork(parent: Process): Promise<Process> {
    const child = await parent.fork();
    this.processes.push(child);
    return child;
  }

  /** Ends a process before the test is over; its devices are closed with it. */
  async exit(process: Process, devices: readonly TestDevice[] = []): Promise<void> {
    this.processes.splice(this.processes.indexOf(process), 1);
    for (const device of devices) this.openDevices.delete(device);
    await process.exit();
  }

  /** Opens a device; it is closed with the test. */
  async open(process: Process, minor: number): Promise<TestDevice> {
    const device = await process.openDevice(minor);
    this.openDevices.add(device);
    return device;
  }

  /** Closes a device before the test is over. */
  async close(device: TestDevice): Promise<void> {
    this.openDevices.delete(device);
    await device.close();
  }

  /** A file without a name, as large as a buffer; it is closed with the test (hmm_create_file). */
  async createFile(npages: number): Promise<TmpFile> {
    const file = await this.machine.tmpfile();
    this.files.push(file);
    await file.ftruncate(npages * PAGE_SIZE);
    return file;
  }

  /** Maps a buffer and its mirror. */
  async buffer(
    npages: number,
    options: BufferOptions = {},
    process = this.process,
  ): Promise<HmmBuffer> {
    const { prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS, fd } = options;
    const length = npages * PAGE_SIZE;
    const ptr = await process.mmap({ length, prot, flags, ...(fd === undefined ? {} : { fd }) });
    const mirror = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
    return { ptr, mirror, npages, cpages: 0, faults: 0 };
  }

  /** Unmaps a buffer and its mirror (hmm_buffer_free). */
  async free(buffer: HmmBuffer): Promise<void> {
    await this.process.munmap(buffer.ptr, buffer.npages * PAGE_SIZE);
    await this.process.munmap(buffer.mirror, buffer.npages * PAGE_SIZE);
  }

  /**
   * Stores a pattern by the CPU.
   *
   * @param address page aligned @param first pages of the pattern before `address`
   */
  store(
    address: number,
    npages: number,
    pattern: Pattern,
    first = 0,
    process = this.process,
  ): Promise<void> {
    const start = first * PAGE_WORDS;
    const words = new Int32Array(npages * PAGE_WORDS);
    for (let i = 0; i < words.length; i++) words[i] = pattern(start + i);
    return process.write(address, new Uint8Array(words.buffer));
  }

  /** Stores a pattern to the whole range under test. */
  fill(buffer: HmmBuffer, pattern: Pattern): Promise<void> {
    return this.store(buffer.ptr, buffer.npages, pattern);
  }

  /** Stores a pattern to the whole mirror. */
  fillMirror(buffer: HmmBuffer, pattern: Pattern): Promise<void> {
    return this.store(buffer.mirror, buffer.npages, pattern);
  }

  /** Loads a range by the CPU and ends the test unless it holds the pattern. */
  async assertMemory(
    address: number,
    npages: number,
    pattern: Pattern,
    what: string,
    process = this.process,
  ): Promise<void> {
    this.assertWords(await process.read(address, npages * PAGE_SIZE), pattern, what);
  }

  /** Ends the test unless the CPU finds the pattern in the first `npages` under test. */
  assertPtr(buffer: HmmBuffer, pattern: Pattern, npages = buffer.npages): Promise<void> {
    return this.assertMemory(buffer.ptr, npages, pattern, 'ptr');
  }

  /** Ends the test unless the CPU finds the pattern in the first `npages` of the mirror. */
  assertMirror(buffer: HmmBuffer, pattern: Pattern, npages = buffer.npages): Promise<void> {
    return this.assertMemory(buffer.mirror, npages, pattern, 'mirror');
  }

  /** The CPU loads the first word of page `page`. */
  async loadWord(buffer: HmmBuffer, page: number): Promise<number> {
    const bytes = await this.process.read(buffer.ptr + page * PAGE_SIZE, 4);
    return new DataView(bytes.buffer).getInt32(0, true);
  }

  /** The CPU stores the first word of page `page`. */
  storeWord(buffer: HmmBuffer, page: number, value: number): Promise<void> {
    const word = new Uint8Array(Int32Array.of(value).buffer);
    return this.process.write(buffer.ptr + page * PAGE_SIZE, word);
  }

  /** Changes the protection of `npages` pages from page `first` on. */
  protect(
    buffer: HmmBuffer,
    prot: number,
    first = 0,
    npages = buffer.npages - first,
  ): Promise<void> {
    return this.process.mprotect(buffer.ptr + first * PAGE_SIZE, npages * PAGE_SIZE, prot);
  }

  /**
   * Runs a device command (hmm_dmirror_cmd): again while it is interrupted; the counts of the
   * buffer change only when it succeeds.
   *
   * @returns 0 or an errno
   */
  async cmd(
    device: TestDevice,
    command: DmirrorCommand,
    buffer: HmmBuffer,
    npages: number,
    first = 0,
  ): Promise<number> {
    const request = { addr: buffer.ptr + first * PAGE_SIZE, ptr: buffer.mirror, npages };
    let result = await device.tryIoctl(command, request);
    while (result.errno === errno.EINTR) result = await device.tryIoctl(command, request);
    if (result.errno === 0) {
      buffer.cpages = result.cpages;
      buffer.faults = result.faults;
    }
    return result.errno;
  }

  /** Runs a command and ends the test unless it succeeds and reports what is expected. */
  async cmdOk(
    device: TestDevice,
    command: DmirrorCommand,
    buffer: HmmBuffer,
    npages: number,
    { cpages = npages, faults, first = 0 }: CommandExpectation = {},
  ): Promise<void> {
    const what = `${command} of ${npages} pages`;
    this.assertErrno(0, await this.cmd(device, command, buffer, npages, first), what);
    this.assertEq(cpages, buffer.cpages, `cpages of ${what}`);
    if (faults !== undefined) this.assertEq(faults, buffer.faults, `faults of ${what}`);
  }

  /** Runs a command and ends the test unless it fails with that errno. */
  async cmdFails(
    device: TestDevice,
    command: DmirrorCommand,
    buffer: HmmBuffer,
    npages: number,
    expected: number,
    first = 0,
  ): Promise<void> {
    const status = await this.cmd(device, command, buffer, npages, first);
    this.assertErrno(expected, status, `${command} of ${npages} pages`);
  }

  /** The machine's vm counters now. */
  async counts(): Promise<VmCounts> {
    return (await this.machine.counters()).vm;
  }

  /** Ends the test unless these counters grew by just so much since `before`. */
  async assertCounted(before: VmCounts, expected: VmCounts, when: string): Promise<void> {
    const now = await this.counts();
    for (const [name, growth] of Object.entries(expected)) {
      const seen = (now[name] ?? Number.NaN) - (before[name] ?? Number.NaN);
      this.expectEq(growth, seen, `${name} ${when}`);
    }
    this.stopIfFailed();
  }

  /** Pages that a device has handed out so far. */
  async allocated(minor: number): Promise<number> {
    const { devices } = await this.machine.counters();
    return devices.find((device) => device.minor === minor)?.calloc ?? Number.NaN;
  }

  /**
   * Ends the test unless the pages under test are where `where` says, one letter a page; `0` is the
   * first device of the fixture, `1` the second.
   */
  async assertWhere(buffer: HmmBuffer, where: string, process = this.process): Promise<void> {
    const codes = await process.pageMap(buffer.ptr, where.length);
    const letters = [...codes].map((code) => this.letter(code)).join('');
    this.assertEq(where, letters, 'places of pages');
  }

  private letter(code: number): string {
    const at = this.instance.minors.indexOf(code - PAGE_DEVICE);
    return at >= 0 ? String(at) : (LETTERS[code] ?? '?');
  }
}

/** Letters of `assertWhere`, by PAGE_* code: none, zero page, RAM, migrating, exclusive. */
const LETTERS: Readonly<Record<number, string>> = {
  [PAGE_NONE]: '-',
  [PAGE_ZERO]: 'z',
  [PAGE_RAM]: 'r',
  [PAGE_MIGRATING]: 'm',
  [PAGE_EXCLUSIVE]: 'x',
};
