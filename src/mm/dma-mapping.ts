/**
 * As much of the DMA API as HMM's helpers need (include/linux/dma-mapping.h, iommu-dma.h): what a
 * device can do, and a table of IO virtual addresses.
 *
 * Locking: the caller's. Never waits.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE, isPageAligned } from '../base/units.ts';

/** No DMA address (DMA_MAPPING_ERROR): above every address. */
export const DMA_MAPPING_ERROR = -1;

/** A stretch of IO virtual addresses (struct dma_iova_state). */
export interface IovaState {
  readonly address: number;
  /** Bytes. */
  readonly length: number;
}

/** How a device reaches a page of another device (enum pci_p2pdma_map_type); `none`: RAM. */
export type PeerRoute = 'none' | 'bridge' | 'bus' | 'unsupported';

/** A device as the DMA API sees it (struct device). */
export interface DmaDevice {
  /** Its caches are not coherent: each access would have to be synced. */
  readonly needsSync: boolean;
  /** It can't address all memory, so that contents would have to be bounced. */
  readonly isAddressingLimited: boolean;
  /** Mappings must be undone; else an address is just computed (dma_need_unmap). */
  readonly needsUnmap: boolean;
  /** The IOMMU in front of it, if any. */
  readonly iommu: IovaTable | null;
  peerRoute(pfn: number): PeerRoute;
  /** Bus address of a page of a peer. */
  peerBusAddress(pfn: number): number;
  /** Maps without an IOMMU (dma_map_phys): an address or DMA_MAPPING_ERROR. */
  mapPage(pfn: number, size: number, isMmio: boolean): number;
  unmapPage(address: number, size: number): void;
}

/** What one page of IO virtual addresses leads to. */
export interface IovaEntry {
  readonly pfn: number;
  /** The memory of a peer device (DMA_ATTR_MMIO). */
  readonly isMmio: boolean;
}

/** A small IOMMU: stretches of addresses, and what is linked in them. */
export class IovaTable {
  private readonly entries = new Map<number, IovaEntry>();
  private readonly free: IovaState[];
  private readonly end: number;

  /** @param start First IO virtual address, page aligned. @param length Bytes. */
  constructor(start: number, length: number) {
    this.free = [{ address: start, length }];
    this.end = start + length;
  }

  /** Pages that are linked. */
  get linked(): number {
    return this.entries.size;
  }

  /** Bytes that can be reserved, in all pieces together. */
  get freeBytes(): number {
    return this.free.reduce((sum, piece) => sum + piece.length, 0);
  }

  /** Reserves a stretch (dma_iova_try_alloc); null when none is long enough. */
  allocIova(length: number): IovaState | null {
    const at = this.free.findIndex((piece) => piece.length >= length);
    const piece = this.free[at];
    if (piece === undefined) return null;
    const rest = { address: piece.address + length, length: piece.length - length };
    this.free.splice(at, 1, ...(rest.length > 0 ? [rest] : []));
    return { address: piece.address, length };
  }

  /** Gives a stretch back, with whatever is still linked in it (dma_iova_free). */
  freeIova({ address, length }: IovaState): void {
    for (let at = address; at < address + length; at += PAGE_SIZE) this.entries.delete(at);
    this.free.push({ address, length });
    this.free.sort((a, b) => a.address - b.address);
    for (let i = this.free.length - 1; i > 0; i--) {
      const [low, high] = [this.free[i - 1]!, this.free[i]!];
      if (low.address + low.length !== high.address) continue;
      this.free.splice(i - 1, 2, { address: low.address, length: low.length + high.length });
    }
  }

  /**
   * Links pages at an offset of a stretch (dma_iova_link, dma_iova_sync).
   *
   * @param offset Bytes, page aligned. @param size Bytes, whole pages.
   * @returns 0; EINVAL outside the stretch or not aligned; EEXIST where something is linked.
   */
  link(state: IovaState, offset: number, pfn: number, size: number, isMmio: boolean): number {
    if (!isPageAligned(offset) || !isPageAligned(size) || size <= 0) return errno.EINVAL;
    if (offset < 0 || offset + size > state.length) return errno.EINVAL;
    const first = state.address + offset;
    for (let at = 0; at < size; at += PAGE_SIZE) {
      if (this.entries.has(first + at)) return errno.EEXIST;
    }
    for (let at = 0; at < size; at += PAGE_SIZE) {
      this.entries.set(first + at, { pfn: pfn + at / PAGE_SIZE, isMmio });
    }
    return 0;
  }

  /** Takes pages out (dma_iova_unlink). */
  unlink(state: IovaState, offset: number, size: number): void {
    const first = state.address + offset;
    for (let at = 0; at < size; at += PAGE_SIZE) this.entries.delete(first + at);
  }

  /** What the device finds at an IO virtual address, null = a DMA fault. */
  translate(address: number): IovaEntry | null {
    if (address < 0 || address >= this.end) return null;
    return this.entries.get(address - (address % PAGE_SIZE)) ?? null;
  }
}
