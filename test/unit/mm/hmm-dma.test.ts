/* The DMA helpers of HMM (hmm-semantics 11.6). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { DMA_MAPPING_ERROR, IovaTable } from '../../../src/mm/dma-mapping.ts';
import type { DmaDevice, PeerRoute } from '../../../src/mm/dma-mapping.ts';
import {
  hmmDmaMapAlloc,
  hmmDmaMapFree,
  hmmDmaMapPfn,
  hmmDmaUnmapPfn,
} from '../../../src/mm/hmm-dma.ts';
import type { HmmDmaMap } from '../../../src/mm/hmm-dma.ts';
import {
  HMM_PFN_DMA_MAPPED,
  HMM_PFN_P2PDMA,
  HMM_PFN_P2PDMA_BUS,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
} from '../../../src/mm/hmm.ts';
import { HmmRig, READ, WRITE } from './hmm-rig.ts';
import { checkAtRest, makeBench, mapFilled, pfnAt } from './migration.ts';
import type { Bench } from './migration.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import { RW } from './fixture.ts';

const IOVA_START = 0x10000000;
const BUS = 0x40000000;

/** A device that can be set up in every way, and counts what it is asked for. */
class TestDmaDevice implements DmaDevice {
  needsSync = false;
  isAddressingLimited = false;
  needsUnmap = false;
  iommu: IovaTable | null = null;
  route: PeerRoute = 'none';
  fails = false;
  /** What is mapped without an IOMMU, by address; and how often anything was mapped. */
  readonly mapped = new Map<number, boolean>();
  mappings = 0;

  peerRoute(): PeerRoute {
    return this.route;
  }

  peerBusAddress(pfn: number): number {
    return BUS + pfn * PAGE_SIZE;
  }

  mapPage(pfn: number, _size: number, isMmio: boolean): number {
    if (this.fails) return DMA_MAPPING_ERROR;
    this.mappings++;
    this.mapped.set(pfn * PAGE_SIZE, isMmio);
    return pfn * PAGE_SIZE;
  }

  unmapPage(address: number): void {
    expect(this.mapped.delete(address)).toBe(true);
  }
}

let bench: Bench;
let dev: TestDmaDevice;

beforeEach(() => {
  bench = makeBench();
  dev = new TestDmaDevice();
});

afterEach(() => checkAtRest(bench));

function alloc(entries = 4): HmmDmaMap {
  const map = hmmDmaMapAlloc(dev, entries, PAGE_SIZE);
  if (typeof map === 'number') throw new Error(`hmmDmaMapAlloc: ${map}`);
  return map;
}

/** A map of pages 8, 9, 10... as hmm_range_fault reports them. */
function allocValid(): HmmDmaMap {
  const map = alloc();
  map.pfnList.forEach((_, i) => (map.pfnList[i] = (HMM_PFN_VALID | (8 + i)) >>> 0));
  return map;
}

/** The caller's bits of an entry. */
function own(map: HmmDmaMap, index: number): number {
  return map.pfnList[index]! & (HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS);
}

describe('alloc', () => {
  test.each([
    ['whose caches must be synced', { needsSync: true }],
    ['that can not address all memory', { isAddressingLimited: true }],
  ])('EOPNOTSUPP for a device %s [F85]', (_what, flaw) => {
    Object.assign(dev, flaw);
    expect(hmmDmaMapAlloc(dev, 4, PAGE_SIZE)).toBe(errno.EOPNOTSUPP);
  });

  test.each([
    ['no entries', 0, PAGE_SIZE],
    ['half an entry', 0.5, PAGE_SIZE],
    ['entries larger than all of it', 1, 2 * PAGE_SIZE],
    ['entries of no size', 1, 0],
  ])('EINVAL: %s', (_what, entries, size) => {
    expect(hmmDmaMapAlloc(dev, entries, size)).toBe(errno.EINVAL);
  });

  test('ENOMEM: more entries than memory has room for', () => {
    expect(hmmDmaMapAlloc(dev, 2 ** 52, PAGE_SIZE)).toBe(errno.ENOMEM);
  });

  test('keeps addresses only where they are needed to unmap', () => {
    expect([alloc().dmaList, alloc().state]).toEqual([null, null]);
    dev.needsUnmap = true;
    expect(alloc().dmaList).not.toBe(null);
  });

  test('reserves a stretch behind an IOMMU, and falls back to a list when it is full', () => {
    dev.needsUnmap = true;
    dev.iommu = new IovaTable(IOVA_START, 6 * PAGE_SIZE);
    const map = alloc(4);
    expect([map.state?.address, map.dmaList]).toEqual([IOVA_START, null]);
    const second = alloc(4);
    expect([second.state, second.dmaList?.length]).toEqual([null, 4]);
    hmmDmaMapFree(dev, map);
    expect(dev.iommu.freeBytes).toBe(6 * PAGE_SIZE);
    expect(alloc(6).state?.address).toBe(IOVA_START);
  });
});

describe('map and unmap', () => {
  test('behind an IOMMU: each page at its place in the stretch [F85]', () => {
    dev.iommu = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const map = allocValid();
    expect(hmmDmaMapPfn(dev, map, 2)).toBe(IOVA_START + 2 * PAGE_SIZE);
    expect(own(map, 2)).toBe(HMM_PFN_DMA_MAPPED);
    expect(dev.iommu.translate(IOVA_START + 2 * PAGE_SIZE + 7)).toEqual({ pfn: 10, isMmio: false });
    expect(dev.iommu.translate(IOVA_START)).toBe(null);
    expect(hmmDmaUnmapPfn(dev, map, 2)).toBe(true);
    expect([own(map, 2), dev.iommu.linked]).toEqual([0, 0]);
  });

  test('with kept addresses: unmapped by the address that was given', () => {
    dev.needsUnmap = true;
    const map = allocValid();
    expect(hmmDmaMapPfn(dev, map, 1)).toBe(9 * PAGE_SIZE);
    expect(dev.mapped.size).toBe(1);
    expect(hmmDmaUnmapPfn(dev, map, 1)).toBe(true);
    expect(dev.mapped.size).toBe(0);
  });

  test('without anything to undo: the address is computed again each time', () => {
    const map = allocValid();
    expect([hmmDmaMapPfn(dev, map, 0), hmmDmaMapPfn(dev, map, 0)]).toEqual([
      8 * PAGE_SIZE,
      8 * PAGE_SIZE,
    ]);
    expect(dev.mappings).toBe(2);
    expect(hmmDmaUnmapPfn(dev, map, 0)).toBe(true);
    expect(own(map, 0)).toBe(0);
  });

  test.each([
    ['kept addresses', false],
    ['an IOMMU', true],
  ])('what is mapped is not mapped again, with %s: also with more rights [F85]', (_what, iommu) => {
    dev.needsUnmap = true;
    if (iommu) dev.iommu = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const map = allocValid();
    const address = hmmDmaMapPfn(dev, map, 3);
    map.pfnList[3]! |= HMM_PFN_WRITE;
    expect(hmmDmaMapPfn(dev, map, 3)).toBe(address);
    expect([dev.mappings, dev.iommu?.linked ?? 0]).toEqual(iommu ? [0, 1] : [1, 0]);
  });

  test('of what is not mapped, or not valid, is false and changes nothing', () => {
    const map = allocValid();
    expect(hmmDmaUnmapPfn(dev, map, 0)).toBe(false);
    hmmDmaMapPfn(dev, map, 0);
    map.pfnList[0] = map.pfnList[0]! & ~HMM_PFN_VALID;
    expect(hmmDmaUnmapPfn(dev, map, 0)).toBe(false);
    expect(own(map, 0)).toBe(HMM_PFN_DMA_MAPPED);
  });

  test.each([
    ['a mapping fails', { fails: true }],
    ['a peer can not be reached', { route: 'unsupported' }],
  ])('DMA_MAPPING_ERROR when %s: the entry stays as it is', (_what, flaw) => {
    Object.assign(dev, flaw);
    const map = allocValid();
    expect(hmmDmaMapPfn(dev, map, 0)).toBe(DMA_MAPPING_ERROR);
    expect(own(map, 0)).toBe(0);
  });

  test('DMA_MAPPING_ERROR when the place behind the IOMMU is taken', () => {
    dev.iommu = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const map = allocValid();
    hmmDmaMapPfn(dev, map, 0);
    map.pfnList[0] = map.pfnList[0]! & ~HMM_PFN_DMA_MAPPED;
    expect(hmmDmaMapPfn(dev, map, 0)).toBe(DMA_MAPPING_ERROR);
  });
});

describe('memory of a peer', () => {
  test('through the host bridge is mapped as MMIO, and marked [F85]', () => {
    dev.route = 'bridge';
    dev.iommu = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const map = allocValid();
    expect(hmmDmaMapPfn(dev, map, 0)).toBe(IOVA_START);
    expect(own(map, 0)).toBe((HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA) >>> 0);
    expect(dev.iommu.translate(IOVA_START)).toEqual({ pfn: 8, isMmio: true });
    expect(hmmDmaUnmapPfn(dev, map, 0)).toBe(true);
    expect([own(map, 0), dev.iommu.linked]).toEqual([0, 0]);
  });

  test('by bus address needs no mapping, nor an unmapping [F85]', () => {
    dev.route = 'bus';
    dev.needsUnmap = true;
    const map = allocValid();
    for (let i = 0; i < 2; i++) expect(hmmDmaMapPfn(dev, map, 0)).toBe(BUS + 8 * PAGE_SIZE);
    expect(own(map, 0)).toBe((HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA_BUS) >>> 0);
    expect(hmmDmaUnmapPfn(dev, map, 0)).toBe(true);
    expect([own(map, 0), dev.mappings]).toEqual([0, 0]);
  });
});

test('bits live through hmm_range_fault: read, then write, one mapping [F85]', async () => {
  dev.needsUnmap = true;
  const rig = new HmmRig(bench);
  const addr = mapFilled(bench.mm, 2);
  rig.protect(addr, 2, PROT_READ);
  const map = alloc(2);
  const reading = { ...rig.range(addr, 2, { defaultFlags: READ }), hmmPfns: map.pfnList };
  expect(await rig.run(reading)).toBe(0);
  const address = hmmDmaMapPfn(dev, map, 1);
  expect(address).toBe(pfnAt(bench.mm, addr + PAGE_SIZE) * PAGE_SIZE);
  rig.protect(addr, 2, RW);
  const writing = { ...rig.range(addr, 2, { defaultFlags: WRITE }), hmmPfns: map.pfnList };
  expect(await rig.run(writing)).toBe(0);
  expect(map.pfnList[1]! & HMM_PFN_WRITE).not.toBe(0);
  expect([own(map, 0), own(map, 1)]).toEqual([0, HMM_PFN_DMA_MAPPED]);
  expect([hmmDmaMapPfn(dev, map, 1), dev.mappings]).toEqual([address, 1]);
  expect(hmmDmaUnmapPfn(dev, map, 1)).toBe(true);
});

describe('the table of IO virtual addresses', () => {
  test('merges what is given back, and forgets what was linked there', () => {
    const table = new IovaTable(IOVA_START, 8 * PAGE_SIZE);
    const [a, b, c] = [2, 3, 3].map((pages) => table.allocIova(pages * PAGE_SIZE)!);
    expect(table.allocIova(PAGE_SIZE)).toBe(null);
    expect(table.link(b!, 0, 5, PAGE_SIZE, false)).toBe(0);
    for (const stretch of [a!, c!, b!]) table.freeIova(stretch);
    expect([table.linked, table.freeBytes]).toEqual([0, 8 * PAGE_SIZE]);
    expect(table.allocIova(8 * PAGE_SIZE)?.address).toBe(IOVA_START);
  });

  test.each([
    ['outside the stretch', 2 * PAGE_SIZE, PAGE_SIZE],
    ['over its end', PAGE_SIZE, 2 * PAGE_SIZE],
    ['inside a page', 7, PAGE_SIZE],
    ['of no length', 0, 0],
  ])('EINVAL: a link %s', (_what, offset, size) => {
    const table = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const state = table.allocIova(2 * PAGE_SIZE)!;
    expect(table.link(state, offset, 5, size, false)).toBe(errno.EINVAL);
    expect(table.linked).toBe(0);
  });

  test('an entry of several pages leads to each of them; outside is a fault', () => {
    const table = new IovaTable(IOVA_START, 4 * PAGE_SIZE);
    const state = table.allocIova(4 * PAGE_SIZE)!;
    expect(table.link(state, 0, 5, 2 * PAGE_SIZE, false)).toBe(0);
    expect(table.translate(IOVA_START + PAGE_SIZE)?.pfn).toBe(6);
    expect(table.link(state, PAGE_SIZE, 9, PAGE_SIZE, false)).toBe(errno.EEXIST);
    for (const address of [-1, IOVA_START + 4 * PAGE_SIZE, IOVA_START + 2 * PAGE_SIZE]) {
      expect(table.translate(address)).toBe(null);
    }
  });
});
