/**
 * A device that follows an access trace: it runs at most W workgroups at a time, each until its
 * lanes stop at a fault, and raises the faults in its ring.
 *
 * A replay lets the stopped workgroups go on. Those that are done make room for others with the
 * next replay, as a dispatch of a compacted list does.
 */
import { BARRIER } from './access-trace.ts';
import type { AccessTrace } from './access-trace.ts';
import { DevicePort } from './device-port.ts';
import type { FaultService } from './fault-service.ts';

/** How the device runs a trace. */
export interface DeviceOptions {
  /** Workgroups at a time (160). */
  readonly window: number;
  /** Whether a page is reported once per run of the device, whoever faults on it. */
  readonly dedup: boolean;
}

export const DEVICE_OPTIONS: DeviceOptions = { window: 160, dedup: false };

/** The device's side of a run. */
export class TraceDevice {
  /** Accesses done, and lanes that were cancelled. */
  accesses = 0;
  cancelledLanes = 0;
  private readonly trace: AccessTrace;
  private readonly service: FaultService;
  private readonly options: DeviceOptions;
  /** Next access of each lane, and the page that it is stopped at, or -1. */
  private readonly at: Int32Array;
  private readonly stoppedAt: Int32Array;
  /** 1 where a lane stopped because it used a page over the link too often. */
  private readonly isCounted: Uint8Array;
  /** First lane of each workgroup; one entry more for the end. */
  private readonly firstLane: Int32Array;
  private readonly contexts: Uint16Array;
  private active: number[] = [];
  private admitted = 0;
  private isAck = false;
  private readonly port: DevicePort;

  constructor(trace: AccessTrace, service: FaultService, options: Partial<DeviceOptions> = {}) {
    this.trace = trace;
    this.service = service;
    this.options = { ...DEVICE_OPTIONS, ...options };
    const lanes = trace.laneWorkgroup.length;
    this.at = trace.laneStart.slice(0, lanes);
    this.stoppedAt = new Int32Array(lanes).fill(-1);
    this.isCounted = new Uint8Array(lanes);
    this.firstLane = new Int32Array(trace.workgroups + 1).fill(lanes);
    this.contexts = new Uint16Array(trace.workgroups);
    for (let lane = lanes - 1; lane >= 0; lane--) {
      const workgroup = trace.laneWorkgroup[lane]!;
      this.firstLane[workgroup] = lane;
      const page = trace.pages[trace.laneStart[lane]!];
      const region = page === undefined ? undefined : service.space.regionOf(page);
      if (region !== undefined) this.contexts[workgroup] = region.context;
    }
    for (let i = trace.workgroups - 1; i >= 0; i--) {
      this.firstLane[i] = Math.min(this.firstLane[i]!, this.firstLane[i + 1]!);
    }
    this.port = new DevicePort(service, this.options.dedup);
  }

  /** Whether every workgroup is done. */
  get isDone(): boolean {
    return this.admitted === this.trace.workgroups && this.active.length === 0;
  }

  /** Workgroups that are stopped or about to run. */
  get running(): number {
    return this.active.length;
  }

  /** A page that a lane is stopped at, or -1: for messages. */
  get stuckPage(): number {
    return this.stoppedAt.find((page) => page >= 0) ?? -1;
  }

  /**
   * Admits workgroups and lets all of them run until they stop or end.
   *
   * @param isAck whether lanes whose page is not mapped yet wait, and raise nothing again
   * @returns accesses done
   */
  run(isAck = false): number {
    const { window } = this.options;
    const before = this.accesses;
    this.port.beginRun();
    this.isAck = isAck;
    while (this.active.length < window && this.admitted < this.trace.workgroups) {
      this.active.push(this.admitted++);
    }
    this.active = this.active.filter((workgroup) => !this.runWorkgroup(workgroup));
    const done = this.accesses - before;
    this.port.endRun(done);
    return done;
  }

  /** Runs the lanes of a workgroup, past barriers, as far as they get. @returns whether it ended */
  private runWorkgroup(workgroup: number): boolean {
    const from = this.firstLane[workgroup]!;
    const to = this.firstLane[workgroup + 1]!;
    if (this.service.deadContexts.has(this.contexts[workgroup]!)) return true;
    for (;;) {
      let ended = 0;
      let waiting = 0;
      for (let lane = from; lane < to; lane++) {
        this.runLane(lane, workgroup);
        if (this.at[lane]! >= this.trace.laneStart[lane + 1]!) ended++;
        else if (this.stoppedAt[lane]! < 0) waiting++;
      }
      if (ended === to - from) return true;
      if (waiting === 0 || ended + waiting < to - from) return false;
      for (let lane = from; lane < to; lane++) {
        if (this.at[lane]! < this.trace.laneStart[lane + 1]!) this.at[lane]!++;
      }
    }
  }

  private runLane(lane: number, workgroup: number): void {
    const { pages, access, laneStart } = this.trace;
    const end = laneStart[lane + 1]!;
    const stopped = this.stoppedAt[lane]!;
    if (this.isAck && stopped >= 0) {
      const { mapped, remote } = this.service.space;
      const needed = access[this.at[lane]!]!;
      const allowed = mapped[stopped] ?? 0;
      if (allowed === 0 || allowed < needed) return;
      // What is mapped and waits has raised a counter notification: it waits for the answer, which
      // moves the page or starts the count anew.
      const waits = this.isCounted[lane] === 1 && remote[stopped] === 1;
      if (waits && this.port.isUsedUp(stopped)) return;
    }
    this.stoppedAt[lane] = -1;
    for (let i = this.at[lane]!; i < end; i++) {
      this.at[lane] = i;
      if (access[i] === BARRIER) return;
      if (!this.port.use(pages[i]!, access[i]!, workgroup, this.contexts[workgroup]!)) {
        this.stoppedAt[lane] = pages[i]!;
        this.isCounted[lane] = (this.service.space.mapped[pages[i]!] ?? 0) >= access[i]! ? 1 : 0;
        return;
      }
      this.accesses++;
    }
    this.at[lane] = end;
  }

  /**
   * Ends the lanes that are stopped at a page with at least the access `from`.
   *
   * @returns lanes that ended
   */
  cancel(page: number, from: number): number {
    const { laneStart, access } = this.trace;
    let ended = 0;
    for (const workgroup of this.active) {
      for (let lane = this.firstLane[workgroup]!; lane < this.firstLane[workgroup + 1]!; lane++) {
        if (this.stoppedAt[lane] !== page || access[this.at[lane]!]! < from) continue;
        this.at[lane] = laneStart[lane + 1]!;
        this.stoppedAt[lane] = -1;
        ended++;
      }
    }
    this.cancelledLanes += ended;
    return ended;
  }
}
