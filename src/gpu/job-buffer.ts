/*
 * Descriptors for the kernels: groups of jobs, one group for each dispatch, in one device buffer
 * that is rewritten for each burst of flights. The queue orders the write after all earlier
 * dispatches, so one buffer is enough and nothing is allocated per batch.
 *
 * A group is a header and its jobs, and starts where a dynamic offset may point. The binding
 * always spans half of the buffer, so that an offset anywhere in the first half stays inside.
 *
 * Locking. None; used by one flight at a time. Source: our own.
 */
import { assert } from '../base/assert.ts';
import {
  BATCH_FIRST_RESULT,
  BATCH_GRID_WIDTH,
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_OTHER,
  JOB_WORDS,
} from '../engine/kernel-abi.ts';
import { BUFFER_COPY_DST, BUFFER_STORAGE } from './flags.ts';
import type { FlightPlan } from './flight-plan.ts';

/** Words between possible starts of a group: the largest alignment that WebGPU may ask for. */
const GROUP_ALIGN_WORDS = 64;
/** Kernel uses that one flight can have, each once per arena: see launcher.ts. */
const KERNELS_PER_FLIGHT = 8;

/** See the file header. */
export class JobBuffer {
  readonly buffer: GPUBuffer;
  /** Bytes of the binding that the kernels see. */
  readonly bindingBytes: number;
  /** Jobs that one burst may have, over all its dispatches. */
  readonly jobCapacity: number;
  /** Groups of the burst in use. */
  groups = 0;
  /** Results that the checksum groups of the flight write. */
  results = 0;
  readonly groupArena: Uint32Array;
  readonly groupJobs: Uint32Array;
  /** Byte offset of each group: what `setBindGroup` takes as dynamic offset. */
  readonly groupOffset: Uint32Array;
  private readonly words: Uint32Array<ArrayBuffer>;
  private readonly arenaCount: Uint32Array;
  private readonly arenaNext: Uint32Array;
  private readonly gridLimit: number;
  private readonly workgroupJobs: number;
  private used = 0;

  /**
   * @param gridLimit workgroups that a row of a dispatch may have
   * @param workgroupJobs jobs that a workgroup works on
   * @param flights flights that a burst may have
   */
  constructor(
    device: GPUDevice,
    arenas: number,
    jobCapacity: number,
    gridLimit: number,
    workgroupJobs = 1,
    flights = 1,
  ) {
    const groups = KERNELS_PER_FLIGHT * arenas * flights;
    const words = jobCapacity * JOB_WORDS + groups * (BATCH_HEADER_WORDS + GROUP_ALIGN_WORDS);
    this.jobCapacity = jobCapacity;
    this.gridLimit = gridLimit;
    this.workgroupJobs = workgroupJobs;
    this.bindingBytes = Math.ceil(words / GROUP_ALIGN_WORDS) * GROUP_ALIGN_WORDS * 4;
    this.words = new Uint32Array(this.bindingBytes / 4);
    this.groupArena = new Uint32Array(groups);
    this.groupJobs = new Uint32Array(groups);
    this.groupOffset = new Uint32Array(groups);
    this.arenaCount = new Uint32Array(arenas);
    this.arenaNext = new Uint32Array(arenas);
    this.buffer = device.createBuffer({
      label: 'job batches',
      size: this.bindingBytes * 2,
      usage: BUFFER_STORAGE | BUFFER_COPY_DST,
    });
  }

  /** Forgets the groups of the last burst. */
  reset(): void {
    this.groups = 0;
    this.used = 0;
    this.beginFlight();
  }

  /** The results of the last flight have been copied when the next one's are written. */
  beginFlight(): void {
    this.results = 0;
  }

  /**
   * Adds one group for each arena that the segments of `kind` touch.
   *
   * @param arena the column that names each segment's arena
   * @param frame the column with each segment's first frame in that arena
   * @param other the column with the second word of each segment's first job
   * @param otherStep what the second word grows by from page to page: 1, or 0 for a constant
   * @returns the first new group; the new ones end at `groups`
   */
  addGroups(
    plan: FlightPlan,
    kind: number,
    arena: Uint32Array,
    frame: Uint32Array,
    other: Uint32Array,
    otherStep: number,
  ): number {
    const firstGroup = this.groups;
    this.openGroups(plan, kind, arena);
    if (plan.isPlain) {
      this.writePlainJobs(plan.length, arena, frame, other);
      return firstGroup;
    }
    // In constants: what runs rarely is not compiled well enough to lift them out of the loop.
    const { words, arenaNext } = this;
    const { length, kind: kinds, pages: counts } = plan;
    for (let i = 0; i < length; i++) {
      if (kinds[i] !== kind) continue;
      const index = arena[i]!;
      let at = arenaNext[index]!;
      const first = frame[i]!;
      const second = other[i]!;
      const pages = counts[i]!;
      for (let page = 0; page < pages; page++) {
        words[at + JOB_FRAME] = first + page;
        words[at + JOB_OTHER] = second + page * otherStep;
        at += JOB_WORDS;
      }
      arenaNext[index] = at;
    }
    return firstGroup;
  }

  /**
   * Adds the only group of a burst: page `i` of the bounce buffer goes to the arena's frame
   * `frames[i] - base`. There must be one arena only.
   */
  addPages(frames: Uint32Array, base: number, length: number): void {
    const { words } = this;
    this.reset();
    let at = this.openGroup(0, length);
    for (let i = 0; i < length; i++, at += JOB_WORDS) {
      words[at + JOB_FRAME] = frames[i]! - base;
      words[at + JOB_OTHER] = i;
    }
  }

  /** The jobs of segments of one page each, all of the kind whose groups are open. */
  private writePlainJobs(
    length: number,
    arena: Uint32Array,
    frame: Uint32Array,
    other: Uint32Array,
  ): void {
    const { words, arenaNext } = this;
    let index = 0;
    let at = arenaNext[0]!;
    if (arenaNext.length === 1) {
      writePairs(words, at, frame, other, length);
      return;
    }
    for (let i = 0; i < length; i++) {
      if (arena[i] !== index) {
        arenaNext[index] = at;
        index = arena[i]!;
        at = arenaNext[index]!;
      }
      words[at + JOB_FRAME] = frame[i]!;
      words[at + JOB_OTHER] = other[i]!;
      at += JOB_WORDS;
    }
  }

  /**
   * Gives the jobs of the groups from `firstGroup` on numbers in the results buffer, and each
   * segment of `kind` the number of its first one.
   *
   * @param result column that receives the numbers
   */
  numberResults(plan: FlightPlan, kind: number, firstGroup: number, result: Uint32Array): void {
    for (let group = firstGroup; group < this.groups; group++) {
      this.words[this.groupOffset[group]! / 4 + BATCH_FIRST_RESULT] = this.results;
      this.arenaNext[this.groupArena[group]!] = this.results;
      this.results += this.groupJobs[group]!;
    }
    for (let i = 0; i < plan.length; i++) {
      if (plan.kind[i] !== kind) continue;
      const arena = plan.arena[i]!;
      result[i] = this.arenaNext[arena]!;
      this.arenaNext[arena] = this.arenaNext[arena]! + plan.pages[i]!;
    }
  }

  /** Workgroups of a group's dispatch in x; the rest is rows in y. */
  gridWidth(group: number): number {
    return Math.min(this.workgroups(group), this.gridLimit);
  }

  /** Rows of a group's dispatch. */
  gridRows(group: number): number {
    return Math.ceil(this.workgroups(group) / this.gridWidth(group));
  }

  private workgroups(group: number): number {
    return Math.ceil(this.groupJobs[group]! / this.workgroupJobs);
  }

  /** Queues the write of all groups; call it before submitting the dispatches that read them. */
  write(queue: GPUQueue): void {
    queue.writeBuffer(this.buffer, 0, this.words, 0, this.used);
  }

  /** Lays out the groups of one kernel and leaves in `arenaNext` where each group's jobs start. */
  private openGroups(plan: FlightPlan, kind: number, arena: Uint32Array): void {
    const { arenaCount, arenaNext } = this;
    arenaCount.fill(0);
    if (arenaCount.length === 1) arenaCount[0] = plan.pagesOf[kind]!;
    else countByArena(plan, kind, arena, arenaCount);
    for (let index = 0; index < arenaCount.length; index++) {
      const jobs = arenaCount[index]!;
      if (jobs === 0) continue;
      arenaNext[index] = this.openGroup(index, jobs);
    }
  }

  /** Lays out a group of `jobs` jobs in an arena. @returns where its jobs start */
  private openGroup(arena: number, jobs: number): number {
    const { words } = this;
    const start = Math.ceil(this.used / GROUP_ALIGN_WORDS) * GROUP_ALIGN_WORDS;
    const end = start + BATCH_HEADER_WORDS + jobs * JOB_WORDS;
    assert(end <= words.length, 'a flight has more jobs than the job buffer holds');
    const group = this.groups;
    this.groups = group + 1;
    this.groupArena[group] = arena;
    this.groupJobs[group] = jobs;
    this.groupOffset[group] = start * 4;
    words[start + BATCH_JOB_COUNT] = jobs;
    words[start + BATCH_GRID_WIDTH] = this.gridWidth(group);
    words[start + BATCH_FIRST_RESULT] = 0;
    words[start + 3] = 0;
    this.used = end;
    return start + BATCH_HEADER_WORDS;
  }
}

function writePairs(
  words: Uint32Array,
  at: number,
  frame: Uint32Array,
  other: Uint32Array,
  length: number,
): void {
  for (let i = 0; i < length; i++, at += JOB_WORDS) {
    words[at + JOB_FRAME] = frame[i]!;
    words[at + JOB_OTHER] = other[i]!;
  }
}

function countByArena(
  plan: FlightPlan,
  kind: number,
  arena: Uint32Array,
  counts: Uint32Array,
): void {
  for (let i = 0; i < plan.length; i++) {
    if (plan.kind[i] !== kind) continue;
    counts[arena[i]!] = counts[arena[i]!]! + plan.pages[i]!;
  }
}
