/*
 * Small judgements of the commands: contrast, adapters, progress, counting of test reports, the
 * lock file.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { describeAdapter, isSoftware } from '../../cli/adapter.ts';
import { refuseBrowser } from '../../cli/browser.ts';
import { contrastRatio, requiredRatio } from '../../cli/contrast.ts';
import { startProgress } from '../../cli/progress.ts';
import { isGpuRequired } from '../../cli/test-platform.ts';
import { countResults, listFailures } from '../../cli/vitest-run.ts';

const ROOT = resolve(import.meta.dirname, '../..');

describe('contrast', () => {
  test('of black on white is 21, of a colour on itself 1', () => {
    expect(contrastRatio([0, 0, 0, 1], [[255, 255, 255, 1]])).toBeCloseTo(21, 5);
    expect(contrastRatio([9, 99, 199, 1], [[9, 99, 199, 1]])).toBe(1);
  });

  test('of greys on white, on both sides of 4.5', () => {
    expect(contrastRatio([0x76, 0x76, 0x76, 1], [])).toBeGreaterThan(4.5);
    expect(contrastRatio([0x77, 0x77, 0x77, 1], [])).toBeLessThan(4.5);
  });

  test('sees through transparent layers to the page', () => {
    const dark = contrastRatio(
      [255, 255, 255, 1],
      [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
      ],
    );
    expect(dark).toBeCloseTo(21, 5);
    expect(contrastRatio([0, 0, 0, 0.5], [])).toBeLessThan(4);
  });

  test('may be lower for large text, bold from 18.66 px and any from 24 px', () => {
    expect([requiredRatio(23.9, false), requiredRatio(24, false)]).toEqual([4.5, 3]);
    expect([requiredRatio(18.6, true), requiredRatio(18.66, true)]).toEqual([4.5, 3]);
  });
});

describe('adapters', () => {
  const swiftshader = {
    vendor: 'google',
    architecture: 'swiftshader',
    device: '',
    description: '',
    isFallbackAdapter: true,
  };

  test('a software adapter is called one, with the flag or without', () => {
    expect(describeAdapter(swiftshader)).toBe('google swiftshader (software adapter)');
    expect(isSoftware({ ...swiftshader, isFallbackAdapter: false })).toBe(true);
    expect(isSoftware({ ...swiftshader, architecture: 'x', isFallbackAdapter: true })).toBe(true);
  });

  test('a hardware adapter is not', () => {
    const gpu = { ...swiftshader, vendor: 'nvidia', architecture: 'hopper' };
    expect(describeAdapter({ ...gpu, isFallbackAdapter: false })).toBe('nvidia hopper');
  });
});

describe('a missing adapter', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test.each([
    [{ CI: 'true' }, true],
    [{ REQUIRE_GPU: '1' }, true],
    [{ CI: 'false', REQUIRE_GPU: '0' }, false],
    [{ CI: '', REQUIRE_GPU: '' }, false],
  ])('with %j is a failure: %s', (env, required) => {
    for (const [name, value] of Object.entries({ CI: '', REQUIRE_GPU: '', ...env })) {
      vi.stubEnv(name, value);
    }
    expect(isGpuRequired()).toBe(required);
  });
});

describe('--browser', () => {
  test('takes its words and programs, and refuses anything else with the remedy', () => {
    expect(refuseBrowser('auto')).toBeUndefined();
    expect(refuseBrowser(process.execPath)).toBeUndefined();
    expect(refuseBrowser('/no/such/browser')).toContain(`there is no file '/no/such/browser'`);
    expect(refuseBrowser(resolve(ROOT, 'package.json'))).toContain('is not a program');
  });
});

describe('progress', () => {
  function record(isTTY: boolean) {
    let time = 0;
    let text = '';
    const sink = { isTTY, columns: 60, write: (part: string) => (text += part) };
    const progress = startProgress('copy', sink, () => time);
    return {
      at: (ms: number, done: number) => {
        time = ms;
        progress.update('pages', done, 9);
      },
      progress,
      text: () => text,
    };
  }

  test('says nothing within two seconds', () => {
    const { at, progress, text } = record(true);
    at(100, 1);
    at(1999, 2);
    progress.end();
    expect(text()).toBe('');
  });

  test('rewrites one line on a terminal and removes it at the end', () => {
    const { at, progress, text } = record(true);
    at(2000, 3);
    at(2050, 4);
    at(2100, 5);
    progress.end();
    const clear = '\r\u001B[K';
    expect(text()).toBe(`${clear}copy: pages 3/9 (2 s)${clear}copy: pages 5/9 (2 s)${clear}`);
  });

  test('prints whole lines elsewhere, one each five seconds', () => {
    const { at, progress, text } = record(false);
    at(2000, 3);
    at(6999, 4);
    at(7000, 5);
    progress.end();
    expect(text()).toBe('copy: pages 3/9 (2 s)\ncopy: pages 5/9 (7 s)\n');
  });
});

describe('counting a test report', () => {
  const file = (status: string, ...states: string[]) => ({
    name: '/x.test.ts',
    status,
    assertionResults: states.map((state, i) => ({ fullName: `test ${i}`, status: state })),
  });

  test('adds up passed, failed and skipped tests', () => {
    const report = { testResults: [file('passed', 'passed', 'skipped'), file('failed', 'failed')] };
    expect(countResults(report, 1)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 1,
      firstFailure: 'test 0 (/x.test.ts)',
    });
  });

  test('a file that could not be loaded is a failure without a failed test', () => {
    const counts = countResults({ testResults: [file('failed'), file('passed', 'passed')] }, 1);
    expect(counts).toMatchObject({ passed: 1, failed: 1, firstFailure: undefined });
  });

  test('so are an unhandled error and a crash without a report', () => {
    const report = { testResults: [file('passed', 'passed')] };
    expect(countResults(report, 1)).toMatchObject({ passed: 1, failed: 1 });
    expect(countResults(undefined, 1)).toMatchObject({ passed: 0, failed: 1 });
    expect(countResults(report, 0)).toMatchObject({ passed: 1, failed: 0 });
  });

  test('names each failure with the first line of why', () => {
    const messages = ['Error: expected 1 to be 2\n    at x.test.ts:3'];
    const failed = { fullName: ' sums add up', status: 'failed', failureMessages: messages };
    const broken = { ...file('failed'), message: 'SyntaxError: no\n    at line 1' };
    const report = {
      testResults: [
        file('passed', 'passed'),
        { ...file('failed'), assertionResults: [failed] },
        broken,
      ],
    };
    expect(listFailures(report)).toEqual([
      'sums add up (/x.test.ts): Error: expected 1 to be 2',
      '/x.test.ts: SyntaxError: no',
    ]);
    expect(listFailures(undefined)).toEqual([]);
  });
});

describe('the lock file', () => {
  interface LockedPackage {
    readonly resolved?: string;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  }
  const lock = JSON.parse(readFileSync(resolve(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, LockedPackage>>;
  };

  test('has no download addresses, which differ from place to place', () => {
    const named = Object.keys(lock.packages).filter((name) => lock.packages[name]!.resolved);
    expect(named).toEqual([]);
  });

  test('has an entry for every optional dependency, or npm ci fails on the others', () => {
    const present = new Set(
      Object.keys(lock.packages).map((path) => path.split('node_modules/').pop()),
    );
    const wanted = Object.values(lock.packages).flatMap(({ optionalDependencies }) =>
      Object.keys(optionalDependencies ?? {}),
    );
    expect(wanted.length).toBeGreaterThan(50);
    expect(wanted.filter((name) => !present.has(name))).toEqual([]);
  });

  test('pins every direct dependency exactly', () => {
    const manifest = JSON.parse(readFileSync(resolve(ROOT, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
      devDependencies: Record<string, string>;
    };
    const versions = Object.values({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });
});
