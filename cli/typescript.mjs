/*
 * Lets Node import the project's TypeScript: what is imported after this file may be a `.ts` file
 * or text (`?raw`). See typescript-hooks.mjs.
 *
 * Only the thread that imports it is served, and threads are given bundles (node-worker.ts).
 */
import { register } from 'node:module';

/** Vitest evaluates this file for each test file of a process. */
const DONE = Symbol.for('webhmm.typescript');

export const isRegistered = true;

if (!(DONE in globalThis)) {
  globalThis[DONE] = true;
  register('./typescript-hooks.mjs', import.meta.url);
}
