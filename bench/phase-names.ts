/**
 * Names of the phases of a migration, in their order: xe's, as far as they can be told apart. A map
 * resolves when the GPU is done, so JS sees one wait for both; phase-split.ts takes it apart where
 * timestamp queries allow it.
 */

/** What JS sees as one. */
export const WAIT = 'GPU and map';

export const PHASE_ORDER: readonly string[] = [
  'collect',
  'unmap',
  'alloc',
  'copy-in',
  'encode',
  'submit',
  WAIT,
  'GPU',
  'map',
  'copy-out',
  'remap',
];

/** Ids of cells that have these phases. */
export const PHASES = 'phases/';
