/*
 * What a program may expect of memory, and nothing of how it comes about: no faults, no devices, no
 * page tables. An address space is a map from arena page to permissions and bytes; bytes that are
 * shared are one object that several pages refer to.
 */
import { PROT_READ, PROT_WRITE } from '../../src/mm/mm-types.ts';

/** Bytes of a page that are not zero, by offset. */
export type Bytes = Map<number, number>;

/** The pages of a shared object. */
export type ModelObject = readonly Bytes[];

export interface ModelPage {
  prot: number;
  /** What a load sees; null beyond the end of an object. */
  bytes: Bytes | null;
  /** Private mapping of an object that was not written yet: a store makes a copy first. */
  copyFirst: boolean;
  /** The object's page behind a mapping of an object. */
  readonly behind: Bytes | null;
  /** Mapped shared: every store is seen by all. */
  readonly isShared: boolean;
}

export interface ModelProcess {
  readonly pages: Map<number, ModelPage>;
}

/** A pin keeps the bytes that the page had when it was pinned, whatever becomes of the mapping. */
export interface ModelPin {
  readonly bytes: Bytes;
}

export interface Model {
  /** By slot; null = no process there. */
  readonly processes: (ModelProcess | null)[];
  readonly objects: readonly ModelObject[];
  readonly pins: (ModelPin | null)[];
}

/** Process slots, pin slots, shared objects and pages of each. */
export const PROCESS_SLOTS = 4;
export const PIN_SLOTS = 3;
export const OBJECTS = 2;
export const OBJECT_PAGES = 6;
/** Pages of the arena that commands work on. */
export const ARENA_PAGES = 16;

/** Pages of the arena that are private memory at the start; the others are of object 0, shared. */
export const PRIVATE_AT_START = 12;

/** Two processes, each with private memory and a shared object in its arena. */
export function newModel(): Model {
  const objects = Array.from({ length: OBJECTS }, () =>
    Array.from({ length: OBJECT_PAGES }, (): Bytes => new Map()),
  );
  const processes = Array.from({ length: PROCESS_SLOTS }, (_, slot) =>
    slot < 2 ? { pages: firstPages(objects[0]!) } : null,
  );
  return { processes, objects, pins: Array.from({ length: PIN_SLOTS }, () => null) };
}

function firstPages(object: ModelObject): Map<number, ModelPage> {
  const pages = new Map<number, ModelPage>();
  for (let page = 0; page < ARENA_PAGES; page++) {
    const behind = page < PRIVATE_AT_START ? null : object[page - PRIVATE_AT_START]!;
    const isShared = behind !== null;
    const prot = PROT_READ | PROT_WRITE;
    pages.set(page, { prot, bytes: behind ?? new Map(), copyFirst: false, behind, isShared });
  }
  return pages;
}

/** What a load or store at a page of a process comes to. */
export type Outcome = 'ok' | 'SIGSEGV' | 'SIGBUS';

export function accessOutcome(process: ModelProcess, page: number, isStore: boolean): Outcome {
  const found = process.pages.get(page);
  if (found === undefined) return 'SIGSEGV';
  if (isStore && (found.prot & PROT_WRITE) === 0) return 'SIGSEGV';
  if (found.prot === 0) return 'SIGSEGV';
  return found.bytes === null ? 'SIGBUS' : 'ok';
}

/** Whether a device may read (or write) the page. It asks for PROT_READ where a CPU takes any. */
export function deviceMay(process: ModelProcess, page: number, isStore: boolean): boolean {
  const found = process.pages.get(page);
  if (found === undefined || found.bytes === null || (found.prot & PROT_READ) === 0) return false;
  return !isStore || (found.prot & PROT_WRITE) !== 0;
}

/** The bytes that a store changes; splits a private page off its object. */
export function bytesForStore(page: ModelPage): Bytes {
  if (page.copyFirst) {
    page.bytes = new Map(page.bytes);
    page.copyFirst = false;
  }
  return page.bytes ?? new Map();
}

/** Whether a page is pinned: it can not be lent. One that a store copies first is left behind. */
export function isPinned(model: Readonly<Model>, page: ModelPage): boolean {
  if (page.copyFirst) return false;
  return model.pins.some((pin) => pin !== null && pin.bytes === page.bytes);
}

export function setByte(bytes: Bytes, offset: number, value: number): void {
  if (value === 0) bytes.delete(offset);
  else bytes.set(offset, value);
}

/** A fork's view of a page: private bytes are copied, shared ones are the same. */
export function forkPage(page: ModelPage): ModelPage {
  const isOwn = !page.isShared && !page.copyFirst && page.bytes !== null;
  return { ...page, bytes: isOwn ? new Map(page.bytes) : page.bytes };
}
