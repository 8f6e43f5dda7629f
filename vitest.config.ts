/*
 * Four test projects, one run.
 *
 *   node      everything that needs no WebGPU: models, selftests, contracts on the CPU engine,
 *             tooling and tidiness; each file has a process of its own
 *   node-units  units that are small and leave nothing behind: many files share a process
 *   dawn      test/gpu and test/contract/dawn*: WebGPU in Node, through Dawn
 *   chromium  test/browser and test/contract/chromium*: WebGPU, workers and pages in a real browser
 *
 * `npx vitest run --project 'node*' test/unit/xyz` runs a part. See cli/test-platform.ts for the
 * adapter that dawn and chromium get; WEBHMM_GPU=hardware asks for the machine's own.
 */
import { lstatSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';
import { describeAdapter } from './cli/adapter.ts';
import { findTestPlatform } from './cli/test-platform.ts';
import type { ChromiumLaunch } from './cli/test-platform.ts';

const DAWN_FILES = ['test/gpu/**/*.test.ts', 'test/contract/dawn*.test.ts'];
const UNIT_FILES = [
  'test/unit/{engine,examples,gpu,mm,vm}/**/*.test.ts',
  'test/unit/driver/*.test.ts',
  // These run long and leave much to collect.
  'test/unit/driver/policy/!(experiments).test.ts',
  // Those here in the names have threads, or look at the whole process.
  'test/unit/bench/!(run|heap|soak|device-loss|crossover).test.ts',
  'test/unit/cpu/{doorbell,fault-ring,letter,shootdown,tlb,trap,walk}.test.ts',
  'test/unit/worker/!(copy-*|core-slots|machine-end|poison|shutdown).test.ts',
  'test/contract/!(cpu-crew|launch-cores-cpu|vm-cpu-waits-cpu|dawn*|chromium*).test.ts',
  'test/{history,isolation}/*.test.ts',
  'test/model/lockdep.test.ts',
  'test/selftests/tap.test.ts',
  'test/tooling/{checks,features,patch,scenarios}.test.ts',
];
const CHROMIUM_FILES = ['test/browser/**/*.test.ts', 'test/contract/chromium*.test.ts'];

const platform = await findTestPlatform((line) => process.stderr.write(`${line}\n`));
const provide = {
  dawnName: typeof platform.dawn === 'string' ? null : describeAdapter(platform.dawn),
  gpuRequired: platform.gpuRequired,
};

// A canary's copy of the tree borrows the original's node_modules, but must not write into them.
const hasOwnModules = !lstatSync('node_modules').isSymbolicLink();

/**
 * For tests and hooks of a second or two: no machine is so slow or busy that it needs this long. A
 * canary that makes a test wait for ever is noticed sooner.
 */
const LIMIT_MS = hasOwnModules ? 120_000 : 30_000;
const GPU_LIMIT_MS = hasOwnModules ? 120_000 : 60_000;
const POLL = { poll: { timeout: hasOwnModules ? 60_000 : 10_000 } };

/**
 * Node imports the code under test itself: under Vite's module runner, where each use of an import
 * is a call, all would load and run more slowly. So a test file has no `vi.mock` and nothing else
 * of Vite's but what cli/typescript-hooks.mjs knows.
 */
const native = {
  experimental: { viteModuleRunner: false, nodeLoader: false },
  // Not with `--import`: Vitest's own modules need no hooks, and hooks that come after Vitest's go
  // before them, which would report each import to the main process.
  setupFiles: ['cli/typescript.mjs'],
  sequence: { setupFiles: 'list' as const },
};

const nodeProject = {
  test: {
    name: 'node',
    ...native,
    environment: 'node' as const,
    pool: 'forks' as const,
    include: ['test/**/*.test.ts'],
    exclude: ['test/fixtures/**', ...UNIT_FILES, ...DAWN_FILES, ...CHROMIUM_FILES],
    testTimeout: LIMIT_MS,
    hookTimeout: LIMIT_MS,
    expect: POLL,
  },
};

const unitsProject = {
  test: {
    ...nodeProject.test,
    name: 'node-units',
    include: UNIT_FILES,
    exclude: [],
    // The code under test keeps nothing between machines, and loading it takes longer than most of
    // these files.
    isolate: false,
  },
};

const dawnProject = {
  test: {
    name: 'dawn',
    environment: 'node' as const,
    // Dawn's environment has to be set before the process starts, which threads can't do.
    pool: 'forks' as const,
    include: DAWN_FILES,
    env: platform.dawnEnv,
    globalSetup: ['test/setup/dawn-global.mjs'],
    // Under Vite's module runner: with Node's own imports these tests took 1.4 times as long.
    setupFiles: ['test/setup/dawn.ts'],
    provide,
    testTimeout: GPU_LIMIT_MS,
    hookTimeout: GPU_LIMIT_MS,
  },
};

function chromiumProject(launchOptions: ChromiumLaunch) {
  return {
    publicDir: false as const,
    cacheDir: hasOwnModules ? 'node_modules/.vite' : '.vite',
    server: {
      headers: {
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Cross-Origin-Embedder-Policy': 'require-corp',
      },
    },
    worker: { format: 'es' as const },
    optimizeDeps: {
      include: ['comlink', 'uplot', 'fast-check', 'wgsl_reflect/wgsl_reflect.module.js'],
    },
    test: {
      name: 'chromium',
      include: CHROMIUM_FILES,
      setupFiles: ['test/setup/chromium.ts'],
      provide,
      testTimeout: GPU_LIMIT_MS,
      hookTimeout: GPU_LIMIT_MS,
      // Once in some thousand tests the browser's software GPU never answers. What is wrong fails
      // twice.
      retry: 1,
      browser: {
        // One page at a time, as pages share one software GPU, while the other projects go on.
        fileParallelism: false,
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions }),
        instances: [{ browser: 'chromium' as const }],
      },
    },
  };
}

/** Projects in the order in which their files begin: short files last, so that no core idles. */
const ORDER = ['chromium', 'node', 'dawn', 'node-units'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ project }: TestSpecification): number =>
      ORDER.findIndex((name) => project.name.split(' ')[0] === name);
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

/** Names a project that this machine can't run, once, where the run's log shows it. */
function skipProject(name: string, reason: string): [] {
  process.stderr.write(`SKIP test project ${name}: ${reason}\n`);
  return [];
}

export default defineConfig({
  test: {
    // More than there are cores, where these are few: tests of pages and commands often wait.
    maxWorkers: Math.max(3, Math.min(8, availableParallelism() - 1)),
    sequence: { sequencer: LongestFirst },
    projects: [
      nodeProject,
      unitsProject,
      ...(typeof platform.dawn === 'string' ? skipProject('dawn', platform.dawn) : [dawnProject]),
      ...(typeof platform.chromium === 'string'
        ? skipProject('chromium', platform.chromium)
        : [chromiumProject(platform.chromium)]),
    ],
  },
});
