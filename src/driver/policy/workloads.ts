/**
 * Access traces of kernels that the published experiments use, made instead of recorded. Each has
 * about as many pages as it is asked for; the same options make the same trace.
 */
import { Prng } from '../../base/prng.ts';
import { plainRegions, TraceWriter } from './access-trace.ts';
import type { AccessTrace } from './access-trace.ts';
import { ACCESS_ATOMIC, ACCESS_READ, ACCESS_WRITE } from './policy.ts';

/** Size and shape of a workload. */
export interface WorkloadOptions {
  /** Pages of 4 KiB that it touches, about (4096). */
  readonly pages: number;
  /** How often it goes over them, where that makes sense (1; cyclic, stencil and graph: 4). */
  readonly passes?: number;
  readonly seed?: number;
}

interface Workload {
  readonly help: string;
  readonly make: (pages: number, passes: number, prng: Prng) => AccessTrace;
  readonly passes?: number;
}

const TABLE = {
  sweep: { help: 'one word per page, each page once', make: sweep },
  stream: { help: 'c = a + b, three arrays, once', make: stream },
  stencil: { help: 'five points, two arrays in turn', make: stencil, passes: 4 },
  cyclic: { help: 'the same pages over and over, in order', make: cyclic, passes: 4 },
  random: { help: 'pages drawn evenly, reads and writes', make: random },
  chase: { help: 'a list through all pages, one step after the other', make: chase },
  graph: { help: 'sparse graph: few vertices used often, many seldom', make: graph, passes: 4 },
  bfs: { help: 'breadth-first search, level by level', make: bfs },
  matmul: { help: 'tiles of c = a b; workgroups share pages of a and b', make: matmul },
  histogram: { help: 'a sweep with atomics on a few pages', make: histogram },
  shared: { help: 'every workgroup reads the same pages', make: shared },
} as const satisfies Readonly<Record<string, Workload>>;

/** Names of workloads. */
export type WorkloadName = keyof typeof TABLE;
/** Names of all workloads. */
export const WORKLOADS = Object.keys(TABLE) as WorkloadName[];

/** What each workload is, in a line. */
export const WORKLOAD_HELP = Object.fromEntries(
  WORKLOADS.map((name) => [name, TABLE[name].help]),
) as Readonly<Record<WorkloadName, string>>;

/**
 * Makes the access trace of a workload.
 *
 * Context: pure.
 */
export function makeWorkload(name: WorkloadName, options: WorkloadOptions): AccessTrace {
  const workload: Workload = TABLE[name];
  const passes = options.passes ?? workload.passes ?? 1;
  return workload.make(options.pages, passes, new Prng(options.seed ?? 1).fork(name));
}

function sweep(pages: number, passes: number): AccessTrace {
  const out = new TraceWriter('sweep', plainRegions(pages));
  for (let pass = 0; pass < passes; pass++) {
    for (let page = 0; page < pages; page++) {
      out.lane();
      out.touch(page, ACCESS_WRITE);
    }
  }
  return out.finish();
}

function stream(pages: number, passes: number): AccessTrace {
  const each = Math.max(1, Math.floor(pages / 3));
  const regions = plainRegions(each, each, each);
  const [a, b, c] = regions.map(({ first }) => first) as [number, number, number];
  const out = new TraceWriter('stream', regions);
  for (let pass = 0; pass < passes; pass++) {
    for (let i = 0; i < each; i++) {
      out.lane();
      out.touch(a + i, ACCESS_READ);
      out.touch(b + i, ACCESS_READ);
      out.touch(c + i, ACCESS_WRITE);
    }
  }
  return out.finish();
}

function stencil(pages: number, passes: number): AccessTrace {
  const each = Math.max(1, Math.floor(pages / 2));
  const regions = plainRegions(each, each);
  const starts = regions.map(({ first }) => first);
  const row = Math.max(1, Math.floor(Math.sqrt(each)));
  const out = new TraceWriter('stencil', regions);
  for (let pass = 0; pass < passes; pass++) {
    const from = starts[pass % 2]!;
    const to = starts[(pass + 1) % 2]!;
    for (let i = 0; i < each; i++) {
      out.lane();
      for (const at of [i - row, i - 1, i, i + 1, i + row]) {
        if (at >= 0 && at < each) out.touch(from + at, ACCESS_READ);
      }
      out.touch(to + i, ACCESS_WRITE);
    }
  }
  return out.finish();
}

function cyclic(pages: number, passes: number): AccessTrace {
  const out = new TraceWriter('cyclic', plainRegions(pages));
  for (let pass = 0; pass < passes; pass++) {
    for (let page = 0; page < pages; page++) {
      out.lane();
      out.touch(page, ACCESS_READ);
    }
  }
  return out.finish();
}

function random(pages: number, passes: number, prng: Prng): AccessTrace {
  const out = new TraceWriter('random', plainRegions(pages));
  const each = 8;
  for (let i = 0; i < (pages * passes) / each; i++) {
    out.lane();
    for (let at = 0; at < each; at++) {
      out.touch(prng.below(pages), prng.chance(0.3) ? ACCESS_WRITE : ACCESS_READ);
    }
  }
  return out.finish();
}

function chase(pages: number, passes: number, prng: Prng): AccessTrace {
  const out = new TraceWriter('chase', plainRegions(pages));
  const order = prng.shuffle(Int32Array.from({ length: pages }, (_, page) => page));
  out.lane();
  for (let pass = 0; pass < passes; pass++) {
    for (const page of order) out.touch(page, ACCESS_READ);
  }
  return out.finish();
}

/** A vertex drawn so that few are drawn often: the cube of an even draw. */
function skewed(pages: number, prng: Prng): number {
  const even = prng.below(2 ** 20) / 2 ** 20;
  return Math.floor(even * even * even * pages);
}

function graph(pages: number, passes: number, prng: Prng): AccessTrace {
  const vertices = Math.max(1, Math.floor(pages / 8));
  const regions = plainRegions(vertices, Math.max(1, pages - vertices));
  const edges = regions[1]!.first;
  const edgePages = regions[1]!.outer - edges;
  const out = new TraceWriter('graph', regions);
  // The edge lists lie scattered: consecutive vertices have theirs anywhere.
  const place = prng.shuffle(Int32Array.from({ length: edgePages }, (_, page) => page));
  for (let pass = 0; pass < passes; pass++) {
    for (let i = 0; i < vertices; i++) {
      out.lane();
      out.touch(i, ACCESS_READ);
      for (let edge = 0; edge < 6; edge++) {
        out.touch(edges + place[skewed(edgePages, prng)]!, ACCESS_READ);
        out.touch(skewed(vertices, prng), ACCESS_READ);
      }
      if (prng.chance(0.2)) out.touch(i, ACCESS_WRITE);
    }
  }
  return out.finish();
}

function bfs(pages: number, _passes: number, prng: Prng): AccessTrace {
  const vertices = Math.max(1, Math.floor(pages / 4));
  const regions = plainRegions(vertices, Math.max(1, pages - vertices));
  const edges = regions[1]!.first;
  const edgePages = regions[1]!.outer - edges;
  const out = new TraceWriter('bfs', regions);
  const isSeen = new Uint8Array(vertices);
  isSeen[0] = 1;
  for (let level = [0]; level.length > 0;) {
    const next: number[] = [];
    for (const vertex of level) {
      out.lane();
      out.touch(vertex, ACCESS_READ);
      for (let edge = 0; edge < 3; edge++) {
        out.touch(edges + ((vertex * 3 + edge) % edgePages), ACCESS_READ);
        const to = prng.below(vertices);
        out.touch(to, ACCESS_READ);
        if (isSeen[to] === 1) continue;
        isSeen[to] = 1;
        next.push(to);
        out.touch(to, ACCESS_WRITE);
      }
    }
    level = next;
  }
  return out.finish();
}

/**
 * Each workgroup makes a tile of c, and reads a row of tiles of a and a column of tiles of b. A
 * tile is a page. Its lanes are the warps, which begin at different places of row and column.
 */
function matmul(pages: number): AccessTrace {
  const side = Math.max(2, Math.floor(Math.sqrt(pages / 3)));
  const regions = plainRegions(side * side, side * side, side * side);
  const [a, b, c] = regions.map(({ first }) => first) as [number, number, number];
  const out = new TraceWriter('matmul', regions);
  const warps = 4;
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      for (let warp = 0; warp < warps; warp++) {
        out.lane(warp === 0);
        for (let step = 0; step < side; step++) {
          const k = (step + Math.floor((warp * side) / warps)) % side;
          out.touch(a + i * side + k, ACCESS_READ);
          out.touch(b + k * side + j, ACCESS_READ);
        }
        out.touch(c + i * side + j, ACCESS_WRITE);
      }
    }
  }
  return out.finish();
}

function histogram(pages: number, passes: number, prng: Prng): AccessTrace {
  const bins = Math.max(1, Math.floor(pages / 64));
  const regions = plainRegions(pages, bins);
  const first = regions[1]!.first;
  const out = new TraceWriter('histogram', regions);
  for (let i = 0; i < pages * passes; i++) {
    out.lane();
    out.touch(i % pages, ACCESS_READ);
    for (let at = 0; at < 4; at++) out.touch(first + prng.below(bins), ACCESS_ATOMIC);
  }
  return out.finish();
}

function shared(pages: number, passes: number): AccessTrace {
  const out = new TraceWriter('shared', plainRegions(pages));
  for (let i = 0; i < 64 * passes; i++) {
    out.lane();
    for (let page = 0; page < pages; page++) out.touch(page, ACCESS_READ);
  }
  return out.finish();
}
