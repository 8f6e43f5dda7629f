/**
 * Letter boxes: arguments and results of system calls, as JSON text in shared memory. Whoever holds
 * the turn (the core before its trap, the kernel until it has answered) writes and reads.
 */
import { errno } from '../base/errno.ts';
import { CORE_LETTER_CHARS, LETTER_CHARS } from './control.ts';
import type { ControlMap } from './control.ts';

/** Puts a value into a core's letter box. @returns 0, or EOVERFLOW when it is too long. */
export function writeLetter(map: ControlMap, slot: number, value: unknown): number {
  const text = JSON.stringify(value ?? null, plainArrays);
  if (text.length > LETTER_CHARS) return errno.EOVERFLOW;
  const start = map.letter(slot);
  for (let i = 0; i < text.length; i++) map.chars[start + i] = text.charCodeAt(i);
  map.words[map.block(slot) + CORE_LETTER_CHARS] = text.length;
  return 0;
}

/** Takes the value out of a core's letter box. */
export function readLetter(map: ControlMap, slot: number): unknown {
  const length = map.words[map.block(slot) + CORE_LETTER_CHARS]!;
  const start = map.letter(slot);
  let text = '';
  for (let i = 0; i < length; i++) text += String.fromCharCode(map.chars[start + i]!);
  return JSON.parse(text);
}

/** Typed arrays travel as lists of numbers. */
function plainArrays(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? [...(value as Uint8Array)] : value;
}
