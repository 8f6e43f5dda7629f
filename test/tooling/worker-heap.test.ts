/*
 * The heap of a page's worker, as the bundled browser tells it to whoever drives it.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { servePage } from '../../cli/serve-page.ts';
import { workerHeap } from '../../cli/worker-heap.ts';

/** A worker that makes as many small objects as it is told, and says when it has. */
const WORKER = `onmessage = ({ data }) => {
  for (let i = 0; i < data; i++) kept[i % 100] = { a: i, b: [i] };
  postMessage(data);
};
const kept = [];`;

const PAGE = `<!doctype html><title>heap</title><script>
  const text = new Blob([${JSON.stringify(WORKER)}], { type: 'text/javascript' });
  const url = URL.createObjectURL(text);
  globalThis.start = () => { globalThis.made = new Worker(url); };
  globalThis.make = (count) => new Promise((done) => {
    made.onmessage = () => done(true);
    made.postMessage(count);
  });
</script>`;

interface HeapWindow {
  start(): void;
  make(count: number): Promise<boolean>;
}

describe.skipIf(!bundleRunsHere())('a worker in the bundled browser (needs Linux x64)', () => {
  let browser: OpenBrowser;

  beforeAll(async () => {
    browser = await openBrowser({ choice: 'bundled', say: () => {} });
  }, 120_000);

  afterAll(() => browser.close());

  test('has a heap that grows by what it allocates, and is unknown before it starts', async () => {
    const server = await servePage(PAGE);
    const page = await browser.newPage();
    const heap = await workerHeap(page);
    await page.goto(server.url);
    expect(await heap()).toBe(null);
    await page.evaluate(() => (globalThis as unknown as HeapWindow).start());
    const make = (count: number) =>
      page.evaluate((n) => (globalThis as unknown as HeapWindow).make(n), count);
    const growth = async (count: number): Promise<number> => {
      const before = (await heap())!;
      await make(count);
      return (await heap())! - before;
    };
    await growth(100);
    const little = await growth(10);
    const much = await growth(1010);
    expect(little).toBeGreaterThan(0);
    expect(much - little).toBeGreaterThan(1000 * 20);
    expect(much - little).toBeLessThan(1000 * 200);
    await page.close();
    await server.close();
  });
});
