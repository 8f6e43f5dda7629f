/*
 * WebGPU in a Node process that runs already, and worker threads made from TypeScript: what
 * `--browser node` of the commands stands on.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import type { AdapterReport } from '../../cli/adapter.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { openNodeGpu } from '../../cli/node-gpu.ts';
import { bundleNodeWorker } from '../../cli/node-worker.ts';

interface Answer {
  readonly sum: number;
  readonly adapter: AdapterReport;
  readonly hasPackages: boolean;
}

const ENTRY = 'test/tooling/worker-entry.ts';

describe.skipIf(!bundleRunsHere())('Dawn in a running process (needs Linux x64)', () => {
  test('finds the bundled driver, in this thread and in a worker from TypeScript', async () => {
    const lines: string[] = [];
    const { adapter } = await openNodeGpu((line) => lines.push(line));
    expect(adapter).toMatchObject({ architecture: 'swiftshader', isFallbackAdapter: true });
    expect(lines.at(-1)).toContain('(software adapter)');
    expect(GPUBufferUsage.COPY_DST).toBe(8);

    const worker = new Worker(await bundleNodeWorker(ENTRY));
    const answer = await new Promise<Answer>((done, fail) => {
      worker.once('message', done);
      worker.once('error', fail);
    });
    await worker.terminate();
    expect(answer).toEqual({ sum: 42, adapter, hasPackages: true });
  });
});

describe('bundling a worker', () => {
  test('gives the same file for the same content, also when done twice at once', async () => {
    const urls = await Promise.all([bundleNodeWorker(ENTRY), bundleNodeWorker(ENTRY)]);
    expect(urls[0].href).toBe(urls[1].href);
    const code = readFileSync(fileURLToPath(urls[0]), 'utf8');
    expect(code).toContain('fn add()');
    expect(code).toMatch(/from ["']comlink["']/);
  });

  test('a missing entry is an error that names it', async () => {
    await expect(bundleNodeWorker('cli/no-such-entry.ts')).rejects.toThrow('no-such-entry');
  });
});
