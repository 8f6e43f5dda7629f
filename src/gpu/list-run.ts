/*
 * A submitted list on its way to the device: how far it has been planned, what is in the air, and
 * what its submitter will be told.
 *
 * Locking. None. Source: our own.
 */
import type { CommandList } from '../engine/command-list.ts';
import { JOB_ADD, JOB_CHECKSUM, JOB_CLEAR, JOB_COPY } from '../engine/command-list.ts';
import type { StrategyChoice } from './strategies/strategy.ts';

/** Which way the pages of a row go. */
export const ROUTE_HOST = 0;
export const ROUTE_UPLOAD = 1;
export const ROUTE_DOWNLOAD = 2;
export const ROUTE_MOVE = 3;
export const ROUTE_CLEAR = 4;
export const ROUTE_ADD = 5;
export const ROUTE_SUM = 6;
/** One more than the largest route. */
export const ROUTES = 7;

/** The route of a row of a checked list. */
export function routeOf(list: CommandList, row: number, hostFrames: number): number {
  const op = list.op[row]!;
  if (op === JOB_CHECKSUM) return list.source[row]! < hostFrames ? ROUTE_HOST : ROUTE_SUM;
  const toHost = list.target[row]! < hostFrames;
  if (op === JOB_COPY) {
    if (list.source[row]! < hostFrames) return toHost ? ROUTE_HOST : ROUTE_UPLOAD;
    return toHost ? ROUTE_DOWNLOAD : ROUTE_MOVE;
  }
  if (op === JOB_CLEAR) return toHost ? ROUTE_HOST : ROUTE_CLEAR;
  return op === JOB_ADD ? ROUTE_ADD : ROUTE_HOST;
}

/** What a list consists of. */
export interface ListShape {
  /** Pages and rows by route. */
  readonly pages: Uint32Array;
  readonly rows: Uint32Array;
}

/** Empty counters for `measureList`. */
export function createListShape(): ListShape {
  return { pages: new Uint32Array(ROUTES), rows: new Uint32Array(ROUTES) };
}

/** Counts pages and rows of a checked list by route. */
export function measureList(list: CommandList, hostFrames: number, shape: ListShape): void {
  const { pages, rows } = shape;
  const { op, source, target, count, length } = list;
  pages.fill(0);
  rows.fill(0);
  // Single pages are the common row: they are counted in variables, by where they come from and go.
  let [uploads, downloads, moves] = [0, 0, 0];
  for (let row = 0; row < length; row++) {
    const fromHost = source[row]! < hostFrames;
    const toHost = target[row]! < hostFrames;
    if (op[row] === JOB_COPY && count[row] === 1 && !(fromHost && toHost)) {
      if (fromHost) uploads += 1;
      else if (toHost) downloads += 1;
      else moves += 1;
    } else {
      const route = routeOf(list, row, hostFrames);
      pages[route] = pages[route]! + count[row]!;
      rows[route] = rows[route]! + 1;
    }
  }
  countSingle(shape, ROUTE_UPLOAD, uploads);
  countSingle(shape, ROUTE_DOWNLOAD, downloads);
  countSingle(shape, ROUTE_MOVE, moves);
}

function countSingle({ pages, rows }: ListShape, route: number, count: number): void {
  pages[route] = pages[route]! + count;
  rows[route] = rows[route]! + count;
}

/**
 * The only route of a list of single pages that are all copied one way, which most lists are.
 * Moves count where VRAM is one arena: between two a page goes another way than within one.
 */
function plainRouteOf(
  rows: number,
  { rows: rowsOf, pages }: ListShape,
  isOneArena: boolean,
): number {
  if (rows === 0) return ROUTE_HOST;
  if (rowsOf[ROUTE_UPLOAD] === rows && pages[ROUTE_UPLOAD] === rows) return ROUTE_UPLOAD;
  if (rowsOf[ROUTE_DOWNLOAD] === rows && pages[ROUTE_DOWNLOAD] === rows) return ROUTE_DOWNLOAD;
  const moves = isOneArena && rowsOf[ROUTE_MOVE] === rows && pages[ROUTE_MOVE] === rows;
  return moves ? ROUTE_MOVE : ROUTE_HOST;
}

function sortsRows({ upload, download, move, clear }: StrategyChoice, plainRoute: number): boolean {
  if (plainRoute === ROUTE_UPLOAD) return upload.sortsRows;
  if (plainRoute === ROUTE_DOWNLOAD) return download.sortsRows;
  if (plainRoute === ROUTE_MOVE) return move.sortsRows;
  return upload.sortsRows || download.sortsRows || move.sortsRows || clear.sortsRows;
}

/** See the file header. */
export class ListRun {
  readonly list: CommandList;
  readonly choice: StrategyChoice;
  /** Pages of each sort that no flight has taken yet. */
  uploadPagesLeft: number;
  downloadPagesLeft: number;
  sumPagesLeft: number;
  readonly hostRows: number;
  readonly deviceRows: number;
  /** The route of all rows where they copy a page each and take the same one; else ROUTE_HOST. */
  readonly plainRoute: number;
  /** Whether all that it asks for is to upload pages, in any order, by kernel. */
  readonly isScattered: boolean;
  /** Next row to plan, as an index into the order of rows, and pages of it that are planned. */
  cursor = 0;
  offset = 0;
  /** Whether rows are planned in an order of their own. */
  readonly isSorted: boolean;
  /** Whether the RAM jobs ran and the order of rows was made. */
  started = false;
  /** Flights submitted and not landed. */
  flights = 0;
  /** The row that a failed flight left half done and whose rest may still succeed, or -1. */
  brokenRow = -1;
  /** What `submit` will answer, so far. */
  result = 0;
  settled = false;
  private resolve: ((result: number) => void) | null = null;

  /** @param isOneArena whether VRAM is one buffer */
  constructor(list: CommandList, choice: StrategyChoice, shape: ListShape, isOneArena: boolean) {
    this.list = list;
    this.choice = choice;
    this.uploadPagesLeft = shape.pages[ROUTE_UPLOAD]!;
    this.downloadPagesLeft = shape.pages[ROUTE_DOWNLOAD]!;
    this.sumPagesLeft = shape.pages[ROUTE_SUM]!;
    this.hostRows = shape.rows[ROUTE_HOST]!;
    this.deviceRows = list.length - this.hostRows;
    this.plainRoute = plainRouteOf(list.length, shape, isOneArena);
    this.isSorted = sortsRows(choice, this.plainRoute);
    this.isScattered = this.plainRoute === ROUTE_UPLOAD && choice.upload.name === 'compute';
  }

  /** True when every row is planned. */
  get isPlanned(): boolean {
    return this.started && this.cursor === this.deviceRows;
  }

  /** Plans nothing more: what is left stays undone. */
  cancelRest(): void {
    this.cursor = this.deviceRows;
    this.started = true;
  }

  /** Settles the run with an error, unless it is settled. */
  fail(code: number): void {
    if (this.settled) return;
    this.result = code;
    this.settle();
  }

  /** The result when it settles. */
  whenSettled(): Promise<number> {
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** Settles the run; a result reported earlier stays. */
  settle(): void {
    this.settled = true;
    this.resolve?.(this.result);
  }
}
