/*
 * The copy engine without a device: the oracle that every other engine is compared with, and the
 * one that simulation and machines without an adapter run on.
 *
 * Promises. VRAM is an array of its own, so RAM and VRAM are as far apart as with a real device:
 * what comes back came through a job. Lists run to completion inside `submit`, which returns a
 * number. Each job that touches VRAM goes through the CPU twin of the kernel that a GPU would run;
 * RAM plays the bounce buffer. Tests may make jobs fail through `failJob`.
 *
 * Locking. None: single-threaded. Leaves out: strategies; there is one way, named `cpu`.
 */
import { assert } from '../base/assert.ts';
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../base/units.ts';
import type { CheckScratch } from './check-list.ts';
import { checkCommandList, createCheckScratch } from './check-list.ts';
import type { CommandList } from './command-list.ts';
import { JOB_ADD, JOB_CHECKSUM, JOB_CLEAR } from './command-list.ts';
import type { AdapterReport, CopyEngine, FrameGeometry, StrategyName } from './copy-engine.ts';
import { createEngineStats } from './engine-stats.ts';
import type { HostCopiers } from './host-copiers.ts';
import type { HostMemory } from './host-jobs.ts';
import { createHostMemory, hostBytesOf, isHostJob, runHostJob, runHostJobs } from './host-jobs.ts';
import {
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_OTHER,
  JOB_WORDS,
  resetStatus,
  STATUS_FLAGS,
  STATUS_WORDS,
} from './kernel-abi.ts';
import { addWords } from './kernels/add-words.ts';
import { checksumPages } from './kernels/checksum-pages.ts';
import { clearPages } from './kernels/clear-pages.ts';
import { copyPages } from './kernels/copy-pages.ts';
import { gatherPages } from './kernels/gather-pages.ts';
import { scatterPages } from './kernels/scatter-pages.ts';

/** Pages that one call of a kernel twin handles: a PMD folio. */
const BATCH_PAGES = 512;
/** What a failed job leaves in the VRAM frames that it should have written. */
const WRECK_WORD = 0xdbdbdbdb;

/** What a CPU engine is made of. */
export interface CpuEngineOptions {
  /** The shared memory; frame 0 is its first page. */
  readonly ram: Uint8Array;
  readonly geometry: FrameGeometry;
  /** Milliseconds for the totals; they stay 0 without. */
  readonly now?: () => number;
  /** Threads that help with copies within the shared memory. */
  readonly hostCopiers?: HostCopiers | undefined;
  /**
   * For tests: a job for which this answers true fails as a device would fail it. Its done bit
   * stays clear, its VRAM target is wrecked, its RAM target is as it was, and `submit` answers EIO.
   */
  readonly failJob?: (list: CommandList, row: number) => boolean;
}

const CPU_ADAPTER: AdapterReport = {
  vendor: 'none',
  architecture: 'cpu',
  device: '',
  description: 'the CPU engine: no WebGPU adapter is involved',
  isSoftware: true,
  limits: {},
  features: [],
};

/** See the file header. */
export class CpuEngine implements CopyEngine {
  readonly name = 'cpu';
  readonly geometry: FrameGeometry;
  readonly adapter = CPU_ADAPTER;
  readonly stats = createEngineStats();
  readonly strategies: readonly StrategyName[] = ['cpu'];
  readonly hostCopiers: HostCopiers | undefined;
  readonly lost: Promise<string>;
  private readonly host: HostMemory;
  private readonly vram: Uint32Array;
  private readonly scratch: CheckScratch;
  private readonly options: CpuEngineOptions;
  private readonly status = new Uint32Array(STATUS_WORDS);
  private readonly batch = new Uint32Array(BATCH_HEADER_WORDS + BATCH_PAGES * JOB_WORDS);
  private readonly sums = new Uint32Array(BATCH_PAGES);
  private lostMessage = '';
  private resolveLost: (message: string) => void = () => {};

  constructor(options: CpuEngineOptions) {
    this.options = options;
    this.geometry = options.geometry;
    this.hostCopiers = options.hostCopiers;
    const isEither = options.failJob === undefined || options.hostCopiers === undefined;
    assert(isEither, 'threads that help do not ask which job is to fail');
    this.host = createHostMemory(options.ram, options.geometry.hostFrames);
    this.vram = new Uint32Array(options.geometry.vramFrames * WORDS_PER_PAGE);
    this.scratch = createCheckScratch(options.geometry);
    this.lost = new Promise((resolve) => {
      this.resolveLost = resolve;
    });
    resetStatus(this.status);
  }

  get isLost(): boolean {
    return this.lostMessage !== '';
  }

  /** Contents of VRAM, for kernels that run over it: frame `hostFrames` is its first page. */
  get vramWords(): Uint32Array {
    return this.vram;
  }

  submit(list: CommandList, strategy: StrategyName = 'auto'): number {
    list.done.fill(0, 0, list.length);
    if (this.isLost) return errno.ENODEV;
    const refused = checkCommandList(list, this.geometry, this.scratch);
    if (refused !== 0) return refused;
    if (strategy !== 'auto' && strategy !== 'cpu') {
      list.firstBad = list.length > 0 ? 0 : -1;
      return errno.EINVAL;
    }
    const started = this.options.now?.() ?? 0;
    this.stats.lists += 1;
    let result = 0;
    const { hostCopiers, host } = this;
    const { hostFrames } = this.geometry;
    if (hostCopiers !== undefined) runHostJobs(host, hostCopiers, list, hostFrames, this.stats);
    for (let row = 0; row < list.length; row++) {
      if (this.runJob(list, row)) {
        list.done[row] = 1;
      } else {
        result = errno.EIO;
      }
    }
    this.stats.hostCopyMs += (this.options.now?.() ?? 0) - started;
    assert(this.status[STATUS_FLAGS] === 0, 'a kernel twin refused a job of a checked list');
    return result;
  }

  /** Behaves from now on as an engine whose device is gone. */
  markLost(message: string): void {
    if (this.isLost) return;
    this.lostMessage = message;
    this.vram.fill(WRECK_WORD);
    this.resolveLost(message);
  }

  close(): void {
    this.markLost('the engine was closed');
    this.hostCopiers?.close();
  }

  private runJob(list: CommandList, row: number): boolean {
    if (this.options.failJob?.(list, row) === true) {
      this.wreck(list, row);
      return false;
    }
    this.stats.jobs += 1;
    this.stats.pages += list.count[row]!;
    if (isHostJob(list, row, this.geometry.hostFrames)) {
      if (this.hostCopiers !== undefined) return true;
      runHostJob(this.host, list, row);
      this.stats.bytesInHost += hostBytesOf(list, row);
    } else {
      this.runDeviceJob(list, row);
    }
    return true;
  }

  private runDeviceJob(list: CommandList, row: number): void {
    const count = list.count[row]!;
    let sum = 0;
    for (let start = 0; start < count; start += BATCH_PAGES) {
      const pages = Math.min(BATCH_PAGES, count - start);
      sum = (sum + this.runKernel(list, row, start, pages)) >>> 0;
    }
    if (list.op[row] === JOB_CHECKSUM) list.result[row] = sum;
  }

  /** Runs pages `start` to `start + pages` of a row; returns their checksum if that was the job. */
  private runKernel(list: CommandList, row: number, start: number, pages: number): number {
    const { hostFrames } = this.geometry;
    const op = list.op[row]!;
    const source = list.source[row]! + start;
    const target = list.target[row]! + start;
    const { vram, status, batch } = this;
    if (op === JOB_ADD) {
      this.fillBatch(target - hostFrames, list.operand[row]!, 0, pages);
      addWords(vram, status, batch);
    } else if (op === JOB_CLEAR) {
      this.fillBatch(target - hostFrames, 0, 0, pages);
      clearPages(vram, status, batch);
    } else if (op === JOB_CHECKSUM) {
      this.fillBatch(source - hostFrames, start, 1, pages);
      checksumPages(vram, status, batch, this.sums);
      let sum = 0;
      for (let i = 0; i < pages; i++) sum = (sum + this.sums[i]!) >>> 0;
      return sum;
    } else if (source < hostFrames) {
      this.fillBatch(target - hostFrames, source, 1, pages);
      scatterPages(vram, status, batch, this.host.words);
      this.stats.bytesToDevice += pages * PAGE_SIZE;
    } else if (target < hostFrames) {
      this.fillBatch(source - hostFrames, target, 1, pages);
      gatherPages(vram, status, batch, this.host.words);
      this.stats.bytesToHost += pages * PAGE_SIZE;
    } else {
      this.fillBatch(target - hostFrames, source - hostFrames, 1, pages);
      copyPages(vram, status, batch);
    }
    return 0;
  }

  private fillBatch(frame: number, other: number, otherStep: number, pages: number): void {
    this.batch[BATCH_JOB_COUNT] = pages;
    for (let job = 0, at = BATCH_HEADER_WORDS; job < pages; job++, at += JOB_WORDS) {
      this.batch[at + JOB_FRAME] = frame + job;
      this.batch[at + JOB_OTHER] = other + job * otherStep;
    }
  }

  private wreck(list: CommandList, row: number): void {
    const { hostFrames } = this.geometry;
    const target = list.target[row]!;
    if (list.op[row] === JOB_CHECKSUM || target < hostFrames) return;
    const first = (target - hostFrames) * WORDS_PER_PAGE;
    this.vram.fill(WRECK_WORD, first, first + list.count[row]! * WORDS_PER_PAGE);
  }
}
