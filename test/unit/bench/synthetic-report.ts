/*
 * A report made of invented cells, for tests of what is printed.
 */
import { makeCell } from '../../../bench/cells.ts';
import { goalRows } from '../../../bench/goals.ts';
import type { BenchCell, BenchReport } from '../../../bench/types.ts';
import { Prng } from '../../../src/base/prng.ts';

const MIB = 2 ** 20;

/** A cell with three samples around `us`. */
export function syntheticCell(
  id: string,
  suite: BenchCell['suite'],
  params: BenchCell['params'],
  us: number,
  bytes: number,
  failure: string | null = null,
): BenchCell {
  const sampled = {
    samples: [us * 0.9, us, us * 1.2],
    dropped: 1,
    chained: 1,
    failure,
    phases: { bookkeeping: us / 4, hostCopy: us / 4, encode: 1, submit: 2, wait: us / 4 },
  };
  const pages = Math.max(1, bytes / 4096);
  return makeCell({ suite, id, params, unit: 'us', bytes, pages }, sampled, new Prng(1));
}

function copyCell(strategy: string, folioBytes: number, batch: number, gbps: number): BenchCell {
  const bytes = folioBytes * batch;
  const params = { direction: 'to-device', strategy, folioBytes, batch, pages: bytes / 4096 };
  const id = `copy/to-device/${strategy}/${folioBytes}/${batch}`;
  const failure = strategy === 'runs' ? 'page 0 of 512 is wrong from word 0 on' : null;
  return syntheticCell(id, 'copy', params, bytes / gbps / 1000, bytes, failure);
}

/** The report; some cells failed, some were left out, one goal was missed. */
export function syntheticReport(): BenchReport {
  const cells = [
    copyCell('staging', 4096, 512, 2),
    copyCell('commands', 4096, 512, 1),
    copyCell('commands', 2 * MIB, 1, 4),
    copyCell('runs', 4096, 512, 1.5),
    syntheticCell('migrate/to-device/64', 'migrate', migrateParams(64), 640, 64 * 4096),
    syntheticCell('migrate/to-device/1', 'migrate', migrateParams(1), 500, 4096),
    syntheticCell('fault/read/1', 'fault', { access: 'read' }, 700, 4096),
    syntheticCell('reference/memcpy', 'reference', { name: 'memcpy' }, 2000, 16 * MIB),
  ];
  const ci = [2, 2.2] as const;
  const part = {
    what: 'gain',
    value: 2.1,
    ci,
    comparison: '>=',
    target: 2.5,
    holds: false,
  } as const;
  const limit = {
    what: 'a wall <here>',
    value: 2.3,
    samples: [2.3],
    beyond: { value: 1.04, ci: [0.98, 1.125] as const },
  };
  return {
    schema: 'webhmm-bench/1',
    commit: 'abc123',
    env: {
      engine: 'webgpu',
      adapter: {
        vendor: 'google',
        architecture: 'swiftshader',
        device: '',
        description: 'SwiftShader <Device>',
        isSoftware: true,
        limits: {},
        features: [],
      },
      isSoftware: true,
      browser: 'Chromium',
      version: '147.0',
      userAgent: 'test',
      crossOriginIsolated: true,
      cores: 2,
      clockTickUs: 5,
      timestampTickNs: null,
      devShm: 'shm',
      node: '20.20.2',
      seed: 1,
      quick: true,
      suites: ['migrate', 'fault', 'copy'],
      startedAt: '2026-11-21T07:00:00.000Z',
      hidden: false,
    },
    wallSeconds: 12.3,
    cells,
    omitted: [
      { id: 'copy/to-device/runs/2097152/512', why: 'moves more than 256 MiB' },
      { id: 'copy/to-host/runs/2097152/512', why: 'moves more than 256 MiB' },
    ],
    goals: goalRows([{ id: 'G4', parts: [{ ...part, limit }] }], ['copy'], 'webgpu'),
  };
}

function migrateParams(pages: number): BenchCell['params'] {
  return { direction: 'to-device', batch: pages, pages, strategy: 'auto' };
}
