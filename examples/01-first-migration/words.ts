/*
 * What the steps say, made from what was seen: the page table entries before, during and after a
 * step, and the engine that the machine reports. Nothing is told that this run has not shown.
 */
import { PAGE_DEVICE, PAGE_MIGRATING, PAGE_NONE, PAGE_RAM } from '../../src/index.ts';
import type { MachineReport } from '../../src/index.ts';
import { plural } from '../_shell/numbers.ts';

/** PAGE_* codes of the range, one a page. */
type Codes = Uint8Array;

/** "64 of 64 pages", for the entries of one kind. */
function share(codes: Codes, isKind: (code: number) => boolean): string {
  return `${codes.filter(isKind).length} of ${plural(codes.length, 'page')}`;
}

/** After mmap(). */
export function mappedWords(codes: Codes): string {
  return `${share(codes, (code) => code === PAGE_NONE)} without memory.`;
}

/** After the first write. */
export function writtenWords(codes: Codes): string {
  return `${share(codes, (code) => code === PAGE_RAM)} now in RAM.`;
}

/** Whether a look during the copy found migration entries. */
export function sawMigration(during: Codes): boolean {
  return during.includes(PAGE_MIGRATING);
}

/** After the migration: `during` was read while the ioctl was under way, `after` when it was. */
export function migratedWords(cpages: number, during: Codes, after: Codes): string {
  const there = share(after, (code) => code >= PAGE_DEVICE);
  const copied = `${plural(cpages, 'page')} copied.`;
  if (!sawMigration(during)) {
    return `${copied} The copy was over before a migration entry could be seen; the entries of
      ${there} name device memory.`;
  }
  const waiting = share(during, (code) => code === PAGE_MIGRATING);
  return `${copied} While the copy ran, migration entries stood in for ${waiting} (first line); now
    the entries of ${there} name device memory.`;
}

/** Who made the sum. */
export function addedWords(engine: MachineReport['engine'], addend: string): string {
  const who = engine === 'webgpu' ? 'A WGSL kernel' : 'The CPU engine, in place of a GPU,';
  return `${who} added ${addend}, drawn after the copy, to every 32-bit word in device memory. The
    process has not seen the sum yet.`;
}

/** After the first load. */
export function touchedWords(codes: Codes): string {
  return `One load, of an entry that named device memory. Now ${share(
    codes,
    (code) => code === PAGE_RAM,
  )} in RAM.`;
}
