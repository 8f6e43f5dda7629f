/**
 * The addresses that the simulator uses. Every process has an arena of pages on both sides of a
 * page table border, which has a shadow, and buffers, which belong to the operation that uses them.
 */
import { PAGE_SIZE, PMD_SIZE } from '../base/units.ts';

/** Pages of an arena: the first half in one page table, the second in the next. */
export const ARENA_PAGES = 20;
/** Most pages of a range that a device works on, and of a buffer. */
export const BUFFER_PAGES = 6;
/** Test devices with private memory, and the most that there are: one may be coherent. */
export const DEVICES = 2;
export const MOST_DEVICES = 3;
/** Shared objects that any process may map, and pages of each. */
export const OBJECTS = 2;
export const OBJECT_PAGES = 6;

/** Where the arena's first page table begins, and what both of its page tables map. */
export const ARENA_TABLES = 2 ** 32;
export const ARENA_TABLES_PAGES = (2 * PMD_SIZE) / PAGE_SIZE;
/** First byte of the arena and of the buffers. */
export const ARENA = ARENA_TABLES + PMD_SIZE - (ARENA_PAGES / 2) * PAGE_SIZE;
export const BUFFERS = 2 ** 33;

/** Address of an arena page. */
export function arenaAddress(page: number): number {
  return ARENA + page * PAGE_SIZE;
}

/** The arena page of an address, or one outside [0, ARENA_PAGES). */
export function arenaPage(address: number): number {
  return Math.floor((address - ARENA) / PAGE_SIZE);
}

/** Address of the buffer of the operation with that number. */
export function bufferAddress(task: number): number {
  return BUFFERS + task * BUFFER_PAGES * PAGE_SIZE;
}
