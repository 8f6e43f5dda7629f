/**
 * Migration of large folios with nobody copying: like null-migration.ts, with one entry, one
 * destination and one copy descriptor for each 2 MiB.
 */
import { CommandList, MADV_HUGEPAGE, PMD_SIZE, PROT_READ, PROT_WRITE } from '../src/index.ts';
import type { LocalMachine, Process } from '../src/index.ts';
import {
  MIGRATE_PFN_COMPOUND,
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_COMPOUND,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  allocHugeFolio,
  migratePfn,
  migratePfnToPage,
  migrateVmaFinalize,
  migrateVmaPages,
  migrateVmaSetup,
} from './insides.ts';
import type { MigrateVma, MmStruct, Vma } from './insides.ts';
import { WINDOW } from './null-migration.ts';
import type { Way } from './null-migration.ts';
import { OperationFailure } from './sampler.ts';

/** A mapping whose first `folios` aligned 2 MiB are a large folio each. */
export interface HugeRange {
  readonly process: Process;
  readonly mm: MmStruct;
  readonly vma: Vma;
  /** Address of the first folio. */
  readonly start: number;
  readonly folios: number;
}

/** Asks for huge pages and touches each of them. */
export async function mapHugeRange(machine: LocalMachine, folios: number): Promise<HugeRange> {
  const { sys } = machine.kernel;
  const before = new Set(sys.mms);
  const process = await machine.spawn();
  const mm = [...sys.mms].find((one) => !before.has(one));
  const length = (folios + 1) * PMD_SIZE;
  const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
  const start = Math.ceil(addr / PMD_SIZE) * PMD_SIZE;
  await process.madvise(start, folios * PMD_SIZE, MADV_HUGEPAGE);
  for (let i = 0; i < folios; i++) await process.touch(start + i * PMD_SIZE, 'write');
  const vma = mm?.vmas.find((one) => one.vmStart <= start && start < one.vmEnd);
  if (mm === undefined || vma === undefined) throw new Error('the process has no such mapping');
  return { process, mm, vma, start, folios };
}

/** Migrations of large folios without a driver and without copies. */
export class NullFolioMigration {
  private readonly range: HugeRange;
  private readonly allocate: Record<Way, () => number>;
  private readonly requests: Record<Way, MigrateVma>;
  private readonly descriptors = new CommandList(1);

  constructor(machine: LocalMachine, range: HugeRange) {
    const { sys, devices } = machine.kernel;
    const { memory } = devices[0]!;
    this.range = range;
    this.allocate = {
      toDevice: () => memory.allocFolio(),
      toRam: () => {
        const folio = allocHugeFolio(sys);
        if (folio >= 0) sys.mem.trylockPage(folio);
        return folio;
      },
    };
    const request = (flags: number): MigrateVma => ({
      vma: range.vma,
      src: new Uint32Array(WINDOW),
      dst: new Uint32Array(WINDOW),
      start: 0,
      end: 0,
      cpages: 0,
      npages: 0,
      pgmapOwner: memory.owner,
      flags: flags | MIGRATE_VMA_SELECT_COMPOUND,
      faultPage: -1,
      reasons: null,
    });
    this.requests = {
      toDevice: request(MIGRATE_VMA_SELECT_SYSTEM),
      toRam: request(MIGRATE_VMA_SELECT_DEVICE_PRIVATE),
    };
  }

  /** Migrates all folios, one by one. */
  run(way: Way): number {
    const { start, folios } = this.range;
    const request = this.requests[way];
    const allocate = this.allocate[way];
    for (let i = 0; i < folios; i++) this.migrate(request, allocate, start + i * PMD_SIZE);
    return 0;
  }

  private migrate(request: MigrateVma, allocate: () => number, start: number): void {
    const { src, dst } = request;
    request.start = start;
    request.end = start + PMD_SIZE;
    this.descriptors.reset();
    migrateVmaSetup(request);
    const entry = src[0]!;
    const wanted = MIGRATE_PFN_COMPOUND | MIGRATE_PFN_MIGRATE;
    const isWhole = (entry & wanted) === wanted;
    const folio = isWhole ? allocate() : -1;
    if (folio < 0) {
      dst.fill(0);
      migrateVmaFinalize(request);
      throw new OperationFailure(isWhole ? 'there is no room for a folio' : 'a folio was split');
    }
    this.descriptors.copy(migratePfnToPage(entry), folio, WINDOW);
    const flags = MIGRATE_PFN_COMPOUND | (entry & MIGRATE_PFN_WRITE);
    dst[0] = (migratePfn(folio) | flags) >>> 0;
    migrateVmaPages(request);
    migrateVmaFinalize(request);
  }
}
