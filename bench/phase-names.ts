/**
 * Names of the phases of a migration, in their order: xe's, as far as JS can tell them apart. A map
 * resolves when the GPU is done, so what the GPU takes and what mapping takes are one phase.
 */
export const PHASE_ORDER: readonly string[] = [
  'collect',
  'unmap',
  'alloc',
  'copy-in',
  'encode',
  'submit',
  'GPU and map',
  'copy-out',
  'remap',
];

/** Ids of cells that have these phases. */
export const PHASES = 'phases/';
