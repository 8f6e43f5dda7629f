/* Words of a stress run as its host checks them; fixtures/programs/stress.js has the same rule. */

/** A word's value: a sequence number and what follows from it, so that halves don't fit. */
function encode(sequence: number, id: number): number {
  const mixed = Math.imul(sequence ^ Math.imul(id, 0x85ebca6b), 0x9e3779b1);
  return ((sequence << 12) | (mixed >>> 20)) >>> 0;
}

/** Index of the first word that holds what was never stored there, -1 when there is none. */
export function findTorn(words: Uint32Array, firstId: number): number {
  for (let i = 0; i < words.length; i++) {
    const value = words[i]!;
    if (value !== 0 && value !== encode(value >>> 12, firstId + i)) return i;
  }
  return -1;
}

/** The hash of the words of one writer that its core prints at the end. */
export function hashOf(words: Uint32Array, rank: number, sharers: number): number {
  let hash = 0x811c9dc5;
  for (let id = rank; id < words.length; id += sharers) {
    hash = Math.imul(hash ^ words[id]!, 0x01000193) >>> 0;
  }
  return hash;
}
