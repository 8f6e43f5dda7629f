/**
 * Bulk operations of a core: page by page, with a poll every few pages, so that the kernel never
 * waits for longer than these take. Pages whose frames follow each other go together.
 */
import { PAGE_SIZE, WORDS_PER_PAGE } from '../base/units.ts';
import { ACCESS_READ, ACCESS_WRITE } from '../mm/uaccess.ts';
import type { Core } from './core.ts';

/** Of an address within its page. A remainder would be one of doubles, a call. */
const OFFSET = PAGE_SIZE - 1;
/** Most bytes between two polls: what takes ten or twenty microseconds. */
const MAX_CHUNK = 64 * PAGE_SIZE;

/**
 * Bytes from `addr` on that lie in frames which follow that of `addr`, at most `length`.
 *
 * @param word First word of the frame of `addr`.
 */
function runLength(core: Core, addr: number, length: number, access: number, word: number): number {
  const inPage = PAGE_SIZE - (addr & OFFSET);
  const limit = Math.min(length, MAX_CHUNK);
  if (inPage >= limit) return limit;
  const pages = Math.ceil((limit - inPage) / PAGE_SIZE);
  const run = core.countRun(addr + inPage, access, word + WORDS_PER_PAGE, pages);
  return Math.min(inPage + run * PAGE_SIZE, limit);
}

/** Copies memory of the program into `target`. */
export function readBytes(core: Core, addr: number, target: Uint8Array): void {
  for (let done = 0; done < target.length;) {
    core.pollIfNudged();
    const at = addr + done;
    const word = core.findRead(at);
    const count = runLength(core, at, target.length - done, ACCESS_READ, word);
    const from = word * 4 + (at & OFFSET);
    target.set(core.memory.u8.subarray(from, from + count), done);
    done += count;
  }
}

/** Copies `source` into memory of the program. */
export function writeBytes(core: Core, addr: number, source: Uint8Array): void {
  for (let done = 0; done < source.length;) {
    core.pollIfNudged();
    const at = addr + done;
    const word = core.findWrite(at);
    const count = runLength(core, at, source.length - done, ACCESS_WRITE, word);
    const part = count === source.length ? source : source.subarray(done, done + count);
    core.memory.u8.set(part, word * 4 + (at & OFFSET));
    done += count;
  }
}

/** Sets bytes of the program's memory. */
export function fillBytes(core: Core, addr: number, length: number, value: number): void {
  for (let done = 0; done < length;) {
    core.pollIfNudged();
    const at = addr + done;
    const word = core.findWrite(at);
    const count = runLength(core, at, length - done, ACCESS_WRITE, word);
    const to = word * 4 + (at & OFFSET);
    core.memory.u8.fill(value, to, to + count);
    done += count;
  }
}

/** Copies within memory of the program, as memmove does. */
export function copyBytes(core: Core, target: number, source: number, length: number): void {
  if (target > source && target < source + length) copyDown(core, target, source, length);
  else copyUp(core, target, source, length);
}

function copyUp(core: Core, target: number, source: number, length: number): void {
  for (let done = 0; done < length;) {
    core.pollIfNudged();
    const from = source + done;
    const to = target + done;
    const words = findBoth(core, from, to);
    let count = runLength(core, from, length - done, ACCESS_READ, words.from);
    count = runLength(core, to, count, ACCESS_WRITE, words.to);
    const first = words.from * 4 + (from & OFFSET);
    // Faster than copyWithin on shared memory, and right where frames overlap, too.
    const { u8 } = core.memory;
    u8.set(u8.subarray(first, first + count), words.to * 4 + (to & OFFSET));
    done += count;
  }
}

/** From the end, where the target overlaps what is still to be copied. */
function copyDown(core: Core, target: number, source: number, length: number): void {
  for (let left = length; left > 0;) {
    core.pollIfNudged();
    const lastFrom = source + left - 1;
    const lastTo = target + left - 1;
    const words = findBoth(core, lastFrom, lastTo);
    const count = Math.min(left, (lastFrom & OFFSET) + 1, (lastTo & OFFSET) + 1);
    const end = words.from * 4 + (lastFrom & OFFSET) + 1;
    const to = words.to * 4 + (lastTo & OFFSET) + 1 - count;
    core.memory.u8.copyWithin(to, end - count, end);
    left -= count;
  }
}

const both = { from: 0, to: 0 };

/** The frames of a load and a store that both hold until the next poll. */
function findBoth(core: Core, from: number, to: number): typeof both {
  let generation: number;
  do {
    generation = core.generation;
    both.from = core.findRead(from);
    both.to = core.findWrite(to);
    // A fault of the second may have taken the first away.
  } while (generation !== core.generation);
  return both;
}
