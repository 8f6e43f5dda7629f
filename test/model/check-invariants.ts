/*
 * The checker of a machine at rest lives in src/sim, where the simulator uses it too.
 */
export { checkInvariants, findProblems } from '../../src/sim/check-invariants.ts';
export type { Known } from '../../src/sim/check-invariants.ts';
