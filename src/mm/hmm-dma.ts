/**
 * Handing the pages of an HMM range to a device by DMA address (mm/hmm.c: hmm_dma_map_*,
 * include/linux/hmm-dma.h). What is mapped already is noted in the caller's bits of each HMM pfn,
 * which hmm_range_fault leaves alone, so asking again for a page costs nothing.
 *
 * Three kinds of device: behind an IOMMU, the whole range gets one stretch of IO virtual addresses
 * and each page is linked at its place in it; with mappings that have to be undone, addresses are
 * kept in a list; with direct mappings, nothing is kept at all. Memory of a peer device is reached
 * through the host bridge, or by a bus address without any mapping.
 *
 * Locking: the caller's driver lock, as for everything that is read by hmm_range_fault. Never
 * waits.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { DMA_MAPPING_ERROR } from './dma-mapping.ts';
import type { DmaDevice, IovaState } from './dma-mapping.ts';
import {
  HMM_PFN_DMA_MAPPED,
  HMM_PFN_P2PDMA,
  HMM_PFN_P2PDMA_BUS,
  HMM_PFN_VALID,
  hmmPfnToPage,
} from './hmm.ts';

/** The DMA side of an HMM range (struct hmm_dma_map). */
export interface HmmDmaMap {
  /** One HMM pfn an entry: the `hmmPfns` of the range. */
  readonly pfnList: Uint32Array;
  /** DMA addresses by entry, where the device's mappings must be undone; else null. */
  readonly dmaList: Float64Array | null;
  /** The stretch of IO virtual addresses behind an IOMMU; else null. */
  readonly state: IovaState | null;
  /** Bytes that one entry stands for. */
  readonly dmaEntrySize: number;
}

/**
 * Makes the map for `nrEntries` entries (hmm_dma_map_alloc).
 *
 * @param dmaEntrySize Bytes per entry, a page or more.
 * @returns the map; EOPNOTSUPP for a device that can't reach all memory or needs its caches synced
 * around each access; ENOMEM when there is no room for lists; EINVAL for sizes that fit no page.
 * Context: any.
 */
export function hmmDmaMapAlloc(
  dev: DmaDevice,
  nrEntries: number,
  dmaEntrySize: number,
): HmmDmaMap | number {
  if (!Number.isInteger(nrEntries) || nrEntries <= 0) return errno.EINVAL;
  if (!Number.isInteger(dmaEntrySize) || dmaEntrySize <= 0) return errno.EINVAL;
  if (nrEntries * PAGE_SIZE < dmaEntrySize) return errno.EINVAL;
  // Pages are used by both sides at once: there is no moment for a copy through a bounce buffer.
  if (dev.needsSync || dev.isAddressingLimited) return errno.EOPNOTSUPP;
  try {
    const pfnList = new Uint32Array(nrEntries);
    const state = dev.iommu?.allocIova(nrEntries * PAGE_SIZE) ?? null;
    const needsList = state === null && dev.needsUnmap;
    const dmaList = needsList ? new Float64Array(nrEntries) : null;
    return { pfnList, dmaList, state, dmaEntrySize };
  } catch (error) {
    if (error instanceof RangeError) return errno.ENOMEM;
    throw error;
  }
}

/** Gives the map back (hmm_dma_map_free). Context: every entry is unmapped. */
export function hmmDmaMapFree(dev: DmaDevice, map: HmmDmaMap): void {
  if (map.state !== null) dev.iommu?.freeIova(map.state);
}

/**
 * Maps the page of an entry for both directions (hmm_dma_map_pfn). One that is mapped keeps its
 * address, also when it has become writable meanwhile.
 *
 * @param index Of the entry, whose HMM pfn is VALID. @returns the DMA address, or
 * DMA_MAPPING_ERROR with the caller's bits of the entry as they were.
 * Context: the HMM pfn is current (mmuIntervalReadRetry).
 */
export function hmmDmaMapPfn(dev: DmaDevice, map: HmmDmaMap, index: number): number {
  const { pfnList, state, dmaList, dmaEntrySize } = map;
  const entry = pfnList[index]!;
  assert((entry & HMM_PFN_VALID) !== 0, 'only a page that was had is mapped for DMA');
  const pfn = hmmPfnToPage(entry);
  const offset = index * dmaEntrySize;
  const isMapped = (entry & HMM_PFN_DMA_MAPPED) !== 0;
  if (isMapped && (entry & HMM_PFN_P2PDMA_BUS) === 0) {
    if (state !== null) return state.address + offset;
    if (dmaList !== null) return dmaList[index]!;
  }
  const route = dev.peerRoute(pfn);
  if (route === 'unsupported') return DMA_MAPPING_ERROR;
  if (route === 'bus') {
    pfnList[index] = entry | HMM_PFN_P2PDMA_BUS | HMM_PFN_DMA_MAPPED;
    return dev.peerBusAddress(pfn);
  }
  const isMmio = route === 'bridge';
  const address = connect(dev, map, index, pfn, isMmio);
  if (address === DMA_MAPPING_ERROR) return DMA_MAPPING_ERROR;
  pfnList[index] = entry | HMM_PFN_DMA_MAPPED | (isMmio ? HMM_PFN_P2PDMA : 0);
  return address;
}

/** By the device's own way: IOMMU, kept address, or nothing to keep. */
function connect(
  dev: DmaDevice,
  { state, dmaList, dmaEntrySize }: HmmDmaMap,
  index: number,
  pfn: number,
  isMmio: boolean,
): number {
  if (state !== null && dev.iommu !== null) {
    const offset = index * dmaEntrySize;
    const linked = dev.iommu.link(state, offset, pfn, dmaEntrySize, isMmio);
    return isErr(linked) ? DMA_MAPPING_ERROR : state.address + offset;
  }
  const address = dev.mapPage(pfn, dmaEntrySize, isMmio);
  if (dmaList !== null && address !== DMA_MAPPING_ERROR) dmaList[index] = address;
  return address;
}

/**
 * Unmaps an entry (hmm_dma_unmap_pfn).
 *
 * @returns true when it was mapped; the caller's three bits are cleared then. Context: the device
 * does not use it any more.
 */
export function hmmDmaUnmapPfn(dev: DmaDevice, map: HmmDmaMap, index: number): boolean {
  const { pfnList, state, dmaList, dmaEntrySize } = map;
  const entry = pfnList[index]!;
  const needed = HMM_PFN_VALID | HMM_PFN_DMA_MAPPED;
  if ((entry & needed) >>> 0 !== needed >>> 0) return false;
  const isBus = (entry & HMM_PFN_P2PDMA_BUS) !== 0;
  if (!isBus && state !== null) {
    dev.iommu?.unlink(state, index * dmaEntrySize, dmaEntrySize);
  } else if (!isBus && dmaList !== null) {
    dev.unmapPage(dmaList[index]!, dmaEntrySize);
  }
  const own = HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS;
  pfnList[index] = entry & ~own;
  return true;
}
