/*
 * Starting the bundled browser as the commands do, and ending it however the command ends.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { watchPage } from '../../cli/browser-page.ts';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { servePage } from '../../cli/serve-page.ts';

const ROOT = resolve(import.meta.dirname, '../..');

const quiet = (): void => {};

describe.skipIf(!bundleRunsHere())('the bundled browser (needs Linux x64)', () => {
  let browser: OpenBrowser;

  beforeAll(async () => {
    browser = await openBrowser({ choice: 'bundled', say: quiet });
  }, 120_000);

  afterAll(() => browser.close());

  test('says that its adapter is software', () => {
    expect(browser.adapter).toMatchObject({ architecture: 'swiftshader', isFallbackAdapter: true });
    expect(browser.name).toMatch(/^bundled Chromium \d+/);
  });

  test('gives a page what it asks for', async () => {
    const server = await servePage('<!doctype html><title>hello</title>');
    const page = await browser.newPage();
    await page.goto(server.url);
    const result = await watchPage(page).race(page.evaluate(() => crossOriginIsolated));
    expect(result).toBe(true);
    await page.close();
    await server.close();
  });

  test('ends a wait when the page throws', async () => {
    const script = `setTimeout(() => { throw new Error('from the page') }, 50)`;
    const server = await servePage(`<!doctype html><script>${script}</script>`);
    const page = await browser.newPage();
    const guard = watchPage(page);
    await page.goto(server.url);
    const never = page.waitForFunction(() => false, undefined, { timeout: 30_000 });
    never.catch(quiet);
    await expect(guard.race(never)).rejects.toThrow('from the page');
    await page.close();
    await server.close();
  });

  test('ends a wait when the page goes away', async () => {
    const page = await browser.newPage();
    const guard = watchPage(page);
    const wait = guard.race(new Promise(() => {}));
    await Promise.all([expect(wait).rejects.toThrow('the page was closed'), page.close()]);
  });
});

describe('choosing a browser', () => {
  test('a program that is no browser is passed over with the reason and the remedy', async () => {
    const lines: string[] = [];
    const opening = openBrowser({ choice: process.execPath, say: (line) => lines.push(line) });
    await expect(opening).rejects.toThrow(/no browser with WebGPU.*Use --browser auto/);
    expect(lines.join('\n')).toContain('it does not start');
  });

  test('a missing file is refused before anything is launched', async () => {
    const opening = openBrowser({ choice: '/no/such/browser', say: quiet });
    await expect(opening).rejects.toThrow(`there is no file '/no/such/browser'`);
  });
});

/** The processes that were started with `mark` in their environment; Linux only. */
function processesWith(mark: string): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/environ`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  });
}

describe.skipIf(!bundleRunsHere())('a command that is stopped (needs Linux x64)', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s ends its browser and exits with %i', async (signal, status) => {
    const mark = `WEBHMM_TEST_MARK=${process.pid}-${signal}`;
    const [name = '', value = ''] = mark.split('=');
    const command = ['--import', './cli/typescript.mjs', 'test/tooling/stop-command.ts'];
    const child = spawn(process.execPath, command, {
      cwd: ROOT,
      env: { ...process.env, [name]: value },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const exit = new Promise<number | null>((done) => child.once('exit', (rc) => done(rc)));
    await new Promise((done) => child.stdout.once('data', done));
    expect(processesWith(mark).length).toBeGreaterThan(1);
    child.kill(signal);
    expect(await exit).toBe(status);
    // The browser's helper processes follow it within moments.
    await expect.poll(() => processesWith(mark)).toEqual([]);
  });
});
