/**
 * Frames for batches by how they are fragmented: one range in order, clusters of neighbours in
 * shuffled order, or every folio for itself. Both sides of a batch are fragmented alike, and
 * neighbours in a cluster of sources have neighbours as targets, as a driver that allocates for
 * clusters arranges it.
 */
import type { FramePool, Shuffler } from './frames.ts';

/** How the folios of a batch lie in memory. */
export const FRAGMENTS = ['contiguous', 'clustered', 'scattered'] as const;
export type Fragments = (typeof FRAGMENTS)[number];

/** What a run may be told: also one side scattered, and the other one range in order. */
export const FRAGMENTATIONS = [...FRAGMENTS, 'sources', 'targets'] as const;
export type Fragmentation = (typeof FRAGMENTATIONS)[number];

/** Folios of a cluster, where the batch has as many. */
export const CLUSTER_FOLIOS = 16;

/** A batch of folios: the first frame of each, in the order of the list. */
export interface Frames {
  readonly source: Uint32Array;
  readonly target: Uint32Array;
}

function expand(clusters: Uint32Array, perCluster: number, folioPages: number): Uint32Array {
  return Uint32Array.from(
    { length: clusters.length * perCluster },
    (_, i) => clusters[Math.floor(i / perCluster)]! + (i % perCluster) * folioPages,
  );
}

/**
 * Takes frames for a batch.
 *
 * @param from Where sources are taken. @param to Where targets are taken.
 * @returns null when a pool has no room.
 */
export function takeFragments(
  from: FramePool,
  to: FramePool,
  shape: { readonly batch: number; readonly folioPages: number; readonly fragments: Fragments },
  shuffler: Shuffler,
): Frames | null {
  const { batch, folioPages, fragments } = shape;
  const perCluster = fragments === 'clustered' ? Math.min(CLUSTER_FOLIOS, batch) : 1;
  const scatter = fragments === 'contiguous' ? null : shuffler;
  const units = Math.ceil(batch / perCluster);
  const sources = from.take(units, folioPages * perCluster, scatter);
  const targets = to.take(units, folioPages * perCluster, scatter);
  if (sources === null || targets === null) return null;
  const source = expand(sources, perCluster, folioPages);
  const target = expand(targets, perCluster, folioPages);
  if (fragments !== 'clustered') return { source, target };
  const order = shuffler.shuffle(Uint32Array.from(source, (_, at) => at)).subarray(0, batch);
  return { source: order.map((at) => source[at]!), target: order.map((at) => target[at]!) };
}
