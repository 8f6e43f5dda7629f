/*
 * A zeroed set of the totals that every engine keeps.
 */
import type { EngineStats } from './copy-engine.ts';

/** Totals of an engine that has done nothing yet. */
export function createEngineStats(): EngineStats {
  return {
    lists: 0,
    jobs: 0,
    pages: 0,
    bytesToDevice: 0,
    bytesToHost: 0,
    bytesInHost: 0,
    copyCommands: 0,
    dispatches: 0,
    submissions: 0,
    maps: 0,
    encodeMs: 0,
    submitMs: 0,
    hostCopyMs: 0,
    waitMs: 0,
  };
}
