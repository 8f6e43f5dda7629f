/*
 * The copy engine on WebGPU.
 *
 * How a list travels. `submit` checks it, picks a strategy for each direction and queues it. The
 * list at the head of the queue is cut into flights, each as large as its staging slots; a flight
 * is one queue submission, or half of one. Several flights are in the air at once; they land in the
 * order of their submission, and landing is what writes RAM and sets done bits. When slots or
 * flights run out the queue stands still until one lands.
 *
 * Order. VRAM is ordered by the device's queue. RAM is ordered by `RamHazards`: a list that touches
 * a RAM frame which a flight in the air has still to write waits until that flight has landed.
 *
 * Failure. RAM is written only from a readback that arrived, so a job without done bit leaves its
 * RAM target as it was. When the device is lost, everything in the air and in the queue settles
 * with ENODEV. Any error that the device reports makes the flights in the air fail with EIO.
 *
 * Locking. None; single-threaded. See ./README.md.
 */
import { errno } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import type { CheckScratch } from '../engine/check-list.ts';
import { checkCommandList, createCheckScratch } from '../engine/check-list.ts';
import type { CommandList } from '../engine/command-list.ts';
import type {
  AdapterReport,
  CopyEngine,
  EngineStats,
  FrameGeometry,
  StrategyName,
} from '../engine/copy-engine.ts';
import type { HostCopiers } from '../engine/host-copiers.ts';
import { runHostJobs } from '../engine/host-jobs.ts';
import { pause } from './adapter.ts';
import { calibrate } from './calibrate.ts';
import type { Scratch } from './calibrate.ts';
import { DeviceErrors } from './device-errors.ts';
import type { EngineParts } from './engine-parts.ts';
import { Fifo } from './fifo.ts';
import { Flight } from './flight.ts';
import { planFlight, type FlightRoom, type FrameLayout } from './flight-planner.ts';
import { nudgerOf } from './nudge.ts';
import type { Nudger } from './nudge.ts';
import { landFlight } from './landing.ts';
import { dropUnusedSlots, isRobbed, takeSlots } from './flight-slots.ts';
import { flightsTogether, Launcher, type FlightListener } from './launcher.ts';
import { createListShape, ListRun, measureList, routeOf, ROUTES } from './list-run.ts';
import { ROUTE_CLEAR, ROUTE_DOWNLOAD, ROUTE_MOVE, ROUTE_UPLOAD } from './list-run.ts';
import { RamHazards } from './ram-hazards.ts';
import { RowOrder } from './row-order.ts';
import {
  chooseStrategy,
  firstRefusedRow,
  isStrategy,
  STRATEGY_NAMES,
} from './strategies/choose.ts';
import { usualPaths } from './strategies/paths.ts';
import type { Paths } from './strategies/paths.ts';
import type { Vram } from './vram.ts';

/** Segments of a flight at most. */
const FLIGHT_SEGMENTS = 4096;
/** How long a refused map waits for the news that the device is lost, milliseconds. */
const LOSS_GRACE_MS = 200;
/** How long `close` waits for the device's last answers, milliseconds. */
const CLOSE_GRACE_MS = 1000;

/** See the file header. */
export class WebGpuEngine implements CopyEngine, FlightListener {
  readonly name = 'webgpu';
  readonly geometry: FrameGeometry;
  readonly adapter: AdapterReport;
  readonly stats: EngineStats;
  readonly strategies: readonly StrategyName[] = STRATEGY_NAMES;
  readonly hostCopiers: HostCopiers | undefined;
  readonly lost: Promise<string>;
  /** Errors that the device reported, the last few, newest last. */
  readonly deviceErrors: readonly string[];
  /** The device and its memory, for those who run kernels of their own over VRAM. */
  readonly parts: EngineParts;
  private readonly errors = new DeviceErrors();
  private readonly launcher: Launcher;
  private readonly nudger: Nudger;
  private readonly scratch: CheckScratch;
  private readonly hazards: RamHazards;
  private readonly order = new RowOrder();
  private readonly shape = createListShape();
  private readonly layout: FrameLayout;
  private readonly room: FlightRoom;
  private readonly idle: Flight[];
  /** Flights that are recorded and not submitted. */
  private readonly burst: Flight[] = [];
  /** Flights submitted and not landed, oldest first. */
  private readonly air: Fifo<Flight>;
  /** Lists that are not planned to the end; the first one is being planned. */
  private readonly queue = new Fifo<ListRun>(16);
  /** Where the ways of moving pages cross over: what `auto` goes by. */
  private paths: Paths;
  private sequence = 0;
  private lastReadyAt = 0;
  /** Since when the time of this thread counts as encoding (ms). */
  private encodingSince = 0;
  private outstanding = 0;
  private lostMessage = '';
  private resolveLost: (message: string) => void = () => {};
  private onQuiet: () => void = () => {};

  constructor(parts: EngineParts) {
    const { geometry, resources } = parts;
    this.parts = parts;
    this.geometry = geometry;
    this.adapter = parts.adapter;
    this.hostCopiers = parts.hostCopiers;
    this.paths = usualPaths(parts.adapter.isSoftware);
    this.stats = resources.stats;
    this.nudger = nudgerOf(resources.device);
    this.launcher = new Launcher(resources, this, parts.checked);
    this.scratch = createCheckScratch(geometry);
    this.hazards = new RamHazards(geometry.hostFrames);
    this.idle = Array.from({ length: parts.flights }, () => this.makeFlight());
    this.air = new Fifo(parts.flights);
    this.layout = {
      hostFrames: geometry.hostFrames,
      framesPerArena: resources.vram.framesPerArena,
    };
    this.room = {
      uploadPages: 0,
      readBytes: 0,
      bouncePages: parts.bouncePages,
      jobs: resources.jobs.jobCapacity,
    };
    this.lost = new Promise((resolve) => {
      this.resolveLost = resolve;
    });
    this.deviceErrors = this.errors.messages;
    this.errors.watch(resources.device);
    void resources.device.lost.then((info) => this.lose(info.message || info.reason));
  }

  get isLost(): boolean {
    return this.lostMessage !== '';
  }

  /** The device, for kernels of others; destroying it loses the engine. */
  get device(): GPUDevice {
    return this.parts.resources.device;
  }

  /** The arenas. */
  get vram(): Vram {
    return this.parts.resources.vram;
  }

  submit(list: CommandList, strategy: StrategyName = 'auto'): MaybePromise<number> {
    list.done.fill(0, 0, list.length);
    if (this.isLost) return errno.ENODEV;
    const refused = checkCommandList(list, this.geometry, this.scratch);
    if (refused !== 0) return refused;
    if (!isStrategy(strategy)) {
      list.firstBad = list.length > 0 ? 0 : -1;
      return errno.EINVAL;
    }
    measureList(list, this.geometry.hostFrames, this.shape);
    const choice = chooseStrategy(strategy, this.shape, this.paths);
    list.firstBad = firstRefusedRow(list, choice, this.geometry.hostFrames);
    if (list.firstBad >= 0) return errno.EINVAL;
    list.result.fill(0, 0, list.length);
    this.stats.lists += 1;
    this.stats.jobs += list.length;
    for (let route = 0; route < ROUTES; route++) this.stats.pages += this.shape.pages[route]!;
    const run = new ListRun(list, choice, this.shape, this.vram.arenas.length === 1);
    this.queue.push(run);
    this.pump();
    return run.settled ? run.result : run.whenSettled();
  }

  /**
   * How `auto` would move the rows of a list that take the same route as its first one.
   *
   * @param list not empty, and such that `submit` would accept it
   */
  pathOf(list: CommandList): StrategyName {
    const { hostFrames } = this.geometry;
    measureList(list, hostFrames, this.shape);
    const { upload, download, move, clear } = chooseStrategy('auto', this.shape, this.paths);
    const route = routeOf(list, 0, hostFrames);
    if (route === ROUTE_UPLOAD) return upload.name;
    if (route === ROUTE_DOWNLOAD) return download.name;
    if (route === ROUTE_CLEAR) return clear.name;
    return route === ROUTE_MOVE ? move.name : 'cpu';
  }

  /**
   * Measures which way of moving pages is best here, and warms the engine up. Its totals stay as
   * they are.
   *
   * @param scratch Frames that nobody uses yet; their contents change. Context: waits.
   */
  async calibrate(scratch: Scratch): Promise<void> {
    const before = { ...this.stats };
    this.paths = await calibrate(this, scratch);
    Object.assign(this.stats, before);
  }

  /**
   * What the kernels refused since the last call, or ''. Waits for all work submitted so far; ''
   * for a lost device.
   */
  async kernelStatus(): Promise<string> {
    try {
      return this.isLost ? '' : await this.parts.status.read();
    } catch (error) {
      if (this.isLost) return '';
      throw error;
    }
  }

  markLost(message: string): void {
    this.lose(message);
    this.parts.resources.device.destroy();
  }

  async close(): Promise<void> {
    this.markLost('the engine was closed');
    this.hostCopiers?.close();
    if (this.outstanding > 0) {
      const quiet = new Promise<void>((resolve) => {
        this.onQuiet = resolve;
      });
      await Promise.race([quiet, pause(CLOSE_GRACE_MS)]);
    }
    await this.parts.resources.device.lost;
  }

  answered(flight: Flight): void {
    this.countAnswer();
    if (flight.run === null) return;
    flight.pending -= 1;
    if (flight.pending > 0) return;
    flight.readyAt = performance.now();
    this.landReady();
  }

  reported(message: string): void {
    this.errors.note(message);
  }

  caught(flight: Flight): void {
    flight.failure = errno.EIO;
    this.answered(flight);
  }

  refused(flight: Flight, reason: unknown): void {
    const news = Promise.race([this.lost, pause(LOSS_GRACE_MS)]);
    void news.then(() => {
      if (!this.isLost) {
        this.errors.note(String(reason));
        this.replaceUploadSlot(flight);
      }
      flight.failure = errno.EIO;
      this.answered(flight);
    });
  }

  uploadSlotBack(flight: Flight): void {
    const slot = flight.upload;
    if (slot !== null && !this.isLost) {
      slot.range = slot.buffer.getMappedRange();
      flight.upload = null;
      this.parts.uploads.give(slot);
    }
    this.answered(flight);
    this.pump();
  }

  /** Plans and launches as much of the queue as slots, flights and hazards allow. */
  private pump(): void {
    try {
      while (this.queue.length > 0 && !this.isLost) {
        const run = this.queue.first()!;
        this.encodingSince = performance.now();
        if (!run.started && !this.start(run)) return;
        while (!run.isPlanned) {
          if (this.isLost || !this.launchBurst(run)) return;
        }
        this.queue.shift();
        if (run.flights === 0) run.settle();
      }
    } catch (error) {
      // What was planned never leaves: nobody may wait for it, or be told that it was done.
      this.markLost(`a launch failed: ${String(error)}`);
      throw error;
    }
  }

  /**
   * Runs the RAM jobs of a list and orders the rest, or launches all of it; false when a hazard
   * stands before it.
   */
  private start(run: ListRun): boolean {
    if (this.hazards.blocks(run.list)) return false;
    run.started = true;
    if (run.isScattered && this.launchWhole(run)) return true;
    const { list } = run;
    const { hostFrames } = this.geometry;
    if (run.hostRows > 0) {
      const begun = this.encodingSince;
      runHostJobs(this.parts.memory, this.hostCopiers, list, hostFrames, this.stats);
      this.encodingSince = performance.now();
      this.stats.hostCopyMs += this.encodingSince - begun;
    }
    if (run.deviceRows > 0) {
      this.order.build(list, hostFrames, run.isSorted, run.plainRoute);
    }
    return true;
  }

  /**
   * Submits the next flights of a list; false when something for the first of them is in use. What
   * fills a slot drives all code out of the caches, so flights that do are recorded together,
   * behind the filling of the first one's; others leave at once.
   */
  private launchBurst(run: ListRun): boolean {
    this.planBurst(run);
    return this.burst.length > 0 && !this.isLost && this.launchPlanned(run);
  }

  private planBurst(run: ListRun): void {
    const { jobCapacity } = this.parts.resources.jobs;
    this.burst.length = 0;
    this.room.jobs = jobCapacity;
    for (let more = true; more && !run.isPlanned && 2 * this.room.jobs > jobCapacity;) {
      const flight = this.planNext(run);
      if (flight === null) break;
      this.burst.push(flight);
      this.room.jobs -= flight.plan.jobs;
      more = flight.upload !== null;
    }
  }

  /** False when the device went before all of them were submitted: then everything has settled. */
  private launchPlanned(run: ListRun): boolean {
    const { burst, launcher } = this;
    if (this.losesRobbed(burst[0]!)) return false;
    let now = launcher.recordAll(burst, run.choice, this.encodingSince);
    for (let from = 0, end = 0; from < burst.length; from = end) {
      end = from + flightsTogether(run, burst, from);
      if (this.losesRobbed(burst[from]!)) burst.length = from;
      else {
        now = launcher.launch(burst, from, end, now);
        for (let i = from; i < end; i++) this.begin(run, burst[i]!);
      }
    }
    this.encodingSince = launcher.close(burst, now);
    return !this.isLost;
  }

  /** Keeps account of a flight that was submitted. */
  private begin(run: ListRun, flight: Flight): void {
    this.outstanding += flight.pending;
    this.nudger.begin(flight.pending);
    run.flights += 1;
    this.air.push(flight);
  }

  /**
   * The short way of a list whose pages a kernel scatters: one flight, of which nothing has to be
   * planned. False where the list is too long for that, or a slot or a flight is missing.
   */
  private launchWhole(run: ListRun): boolean {
    const { list } = run;
    const { uploads, resources } = this.parts;
    const fits = Math.min(uploads.largestPages, resources.jobs.jobCapacity);
    if (list.length > fits || resources.vram.arenas.length > 1) return false;
    const flight = this.idle.pop();
    if (flight === undefined) return false;
    flight.upload = uploads.take(list.length);
    if (flight.upload === null || this.losesRobbed(flight)) {
      this.idle.push(flight);
      return false;
    }
    this.number(run, flight);
    flight.readback = null;
    flight.plan.makeWhole(list.length);
    const base = this.geometry.hostFrames;
    this.encodingSince = this.launcher.launchWhole(flight, list, base, this.encodingSince);
    run.uploadPagesLeft = 0;
    run.cursor = run.deviceRows;
    this.begin(run, flight);
    return true;
  }

  /** Gives a flight its list, and its place in the order of all flights. */
  private number(run: ListRun, flight: Flight): void {
    flight.run = run;
    this.sequence += 1;
    flight.sequence = this.sequence;
    flight.errorsBefore = this.errors.uncaptured;
  }

  /** Nothing but the end of the device takes the memory of a mapped buffer away. */
  private losesRobbed(flight: Flight): boolean {
    if (!isRobbed(flight)) return false;
    this.lose('the device took its mapped memory back');
    return true;
  }

  /** Plans the next flight of a list; null when something for it is in use. */
  private planNext(run: ListRun): Flight | null {
    const flight = this.idle.pop();
    if (flight === undefined) return null;
    const isOneArena = this.vram.arenas.length === 1;
    if (!takeSlots(run, flight, this.parts, isOneArena, this.room) || this.losesRobbed(flight)) {
      this.idle.push(flight);
      return null;
    }
    planFlight(run, this.order.rows, flight.plan, this.room, this.layout);
    dropUnusedSlots(flight, this.parts.uploads, this.parts.readbacks);
    this.number(run, flight);
    this.hazards.launch(flight.plan, flight.sequence);
    return flight;
  }

  /** Lands the oldest flights that are ready, then goes on with the queue. */
  private landReady(): void {
    while (this.air.first()?.isReady === true && !this.isLost) {
      const flight = this.air.shift()!;
      if (flight.failure === 0 && flight.errorsBefore !== this.errors.uncaptured) {
        flight.failure = errno.EIO;
      }
      this.stats.waitMs += flight.readyAt - Math.max(flight.submittedAt, this.lastReadyAt);
      this.lastReadyAt = flight.readyAt;
      if (!landFlight(flight, this.parts.resources)) {
        flight.run?.fail(errno.ENODEV);
        this.lose('the device took its mapped memory back');
        return;
      }
      if (flight.readback !== null) this.parts.readbacks.give(flight.readback);
      this.hazards.land(flight.sequence);
      this.finishFlight(flight);
    }
    this.pump();
  }

  private finishFlight(flight: Flight): void {
    const run = flight.run!;
    flight.run = null;
    flight.readback = null;
    this.idle.push(flight);
    run.flights -= 1;
    if (flight.failure !== 0) {
      run.result = flight.failure;
      run.cancelRest();
      void this.noteKernelStatus();
    }
    if (run.flights === 0 && run.isPlanned && this.queue.first() !== run) run.settle();
  }

  private makeFlight(): Flight {
    const flight = new Flight(FLIGHT_SEGMENTS);
    this.launcher.prepare(flight);
    return flight;
  }

  private replaceUploadSlot(flight: Flight): void {
    if (flight.upload === null) return;
    this.parts.uploads.replace(flight.upload);
    flight.upload = null;
  }

  private countAnswer(): void {
    this.outstanding -= 1;
    this.nudger.end();
    if (this.outstanding === 0) this.onQuiet();
  }

  /** After a failure: whether a kernel refused a job, which would be why. */
  private async noteKernelStatus(): Promise<void> {
    const refused = await this.kernelStatus();
    if (refused !== '') this.errors.note(refused);
  }

  /** Settles everything with ENODEV, once. */
  private lose(message: string): void {
    if (this.isLost) return;
    this.lostMessage = message === '' ? 'the device is lost' : message;
    for (let flight = this.air.shift(); flight !== undefined; flight = this.air.shift()) {
      const { run } = flight;
      flight.run = null;
      run?.fail(errno.ENODEV);
    }
    for (let run = this.queue.shift(); run !== undefined; run = this.queue.shift()) {
      run.fail(errno.ENODEV);
    }
    this.resolveLost(this.lostMessage);
  }
}
