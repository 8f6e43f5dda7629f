/**
 * G1's cells as a map: what each path takes against the best one, by folio size and batch, which
 * path `auto` took, and what that lost.
 */
import type { BenchCell } from './types.ts';

/** A combination of folio size and batch. */
export interface PathColumn {
  readonly folioBytes: number;
  readonly batch: number;
  /** For each path of the map: its time over that of the fastest; null where it was not timed. */
  readonly overBest: readonly (number | null)[];
  /** The path that `auto` took; null where the report does not say. */
  readonly chosen: string | null;
  /** Time of `auto` over that of the best path, with its interval; null where it was not timed. */
  readonly regret: { readonly value: number; readonly ci: readonly [number, number] } | null;
}

/** Paths by combinations. */
export interface PathMap {
  readonly paths: readonly string[];
  readonly columns: readonly PathColumn[];
}

const PREFIX = 'goal/G1/';
const PATHS = ['commands', 'staging', 'runs', 'compute', 'writeBuffer', 'cpu'];

/** The directions and fragmentations that G1 measured, as "to-device" and "scattered". */
export function pathMaps(
  cells: readonly BenchCell[],
): { readonly direction: string; readonly fragments: string }[] {
  const names = new Set(
    own(cells).map(({ params }) => `${String(params['direction'])}/${String(params['fragments'])}`),
  );
  return [...names].toSorted().map((name) => {
    const [direction = '', fragments = ''] = name.split('/');
    return { direction, fragments };
  });
}

/** The map of a direction and fragmentation; batches of one folio have no fragmentation. */
export function pathMap(
  cells: readonly BenchCell[],
  direction: string,
  fragments: string,
): PathMap {
  const here = own(cells).filter(
    ({ params }) =>
      params['direction'] === direction &&
      (params['fragments'] === fragments || params['batch'] === 1),
  );
  const paths = PATHS.filter((name) => here.some(({ params }) => params['strategy'] === name));
  const shapes = new Map(
    here.map(({ params }) => {
      const folioBytes = Number(params['folioBytes']);
      const batch = Number(params['batch']);
      return [`${folioBytes}/${batch}`, { folioBytes, batch }];
    }),
  );
  const columns = [...shapes.values()]
    .toSorted((a, b) => a.folioBytes - b.folioBytes || a.batch - b.batch)
    .map(({ folioBytes, batch }) => {
      const column = here.filter(
        ({ params }) => params['folioBytes'] === folioBytes && params['batch'] === batch,
      );
      return { folioBytes, batch, ...columnOf(column, paths) };
    });
  return { paths, columns };
}

function own(cells: readonly BenchCell[]): BenchCell[] {
  return cells.filter(({ id, verified }) => id.startsWith(PREFIX) && verified);
}

function columnOf(
  cells: readonly BenchCell[],
  paths: readonly string[],
): Omit<PathColumn, 'folioBytes' | 'batch'> {
  const times = paths.map(
    (path) => cells.find(({ params }) => params['strategy'] === path)?.median ?? null,
  );
  const best = Math.min(...times.filter((time) => time !== null));
  const auto = cells.find(({ params }) => params['strategy'] === 'auto')?.params ?? {};
  const { chosen, regret, atLeast, atMost } = auto;
  const isTimed = [regret, atLeast, atMost].every(Number.isFinite);
  return {
    // Times below the clock's tick may be 0, and say nothing.
    overBest: times.map((time) => (time === null || best <= 0 ? null : time / best)),
    chosen: typeof chosen === 'string' ? chosen : null,
    regret: isTimed ? { value: Number(regret), ci: [Number(atLeast), Number(atMost)] } : null,
  };
}
