/*
 * The page of the copy benchmark, built and served, in the bundled browser.
 */
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { openSite } from '../../cli/site.ts';
import type { Site } from '../../cli/site.ts';

describe.skipIf(!bundleRunsHere())('the copy benchmark (needs Linux x64)', () => {
  let browser: OpenBrowser;
  let site: Site;
  let page: Page;
  let problems: string[] = [];

  beforeAll(async () => {
    [browser, site] = await Promise.all([
      openBrowser({ choice: 'bundled', say: () => {} }),
      openSite(),
    ]);
  }, 60_000);

  afterAll(async () => {
    await site.close();
    await browser.close();
  });

  afterEach(async () => {
    await page.close();
    expect(problems).toEqual([]);
  });

  /** Opens the page with that query and waits until it has done what it does by itself. */
  async function open(query = ''): Promise<void> {
    page = await browser.newChromiumPage({ locale: 'en-US' });
    problems = [];
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(`${site.url}03-copy-bench/${query}`);
    await page.waitForSelector('html[data-ready=true]:not([data-busy])');
  }

  /** The data attributes of the root element. */
  function marks(): Promise<Record<string, string | undefined>> {
    return page.evaluate(() =>
      Object.fromEntries(Object.entries(document.documentElement.dataset)),
    );
  }

  async function press(selector: string): Promise<void> {
    await page.click(selector);
    await page.waitForSelector('html:not([data-busy])');
  }

  const text = (selector: string): Promise<string> => page.innerText(selector);

  test('runs when the address says so, and hands over its report', async () => {
    await open('?auto&suite=mm&quick=1&seed=7&engine=cpu');
    const report = await page.evaluate(() => window.webhmmBench);
    expect(report?.cells.length).toBeGreaterThan(0);
    expect(report?.env).toMatchObject({ seed: 7, quick: true, suites: ['mm'], engine: 'cpu' });
    const cells = String(report?.cells.length);
    expect(await marks()).toMatchObject({ result: 'ok', cells, unverified: '0' });
    expect(await page.locator('#cells tbody tr').count()).toBe(report?.cells.length);
    const decided = report?.goals.filter(({ holds }) => holds !== null).map(({ id }) => id);
    const shown = await page.$$eval('[data-goal]', (all) =>
      all.map((one) => one.getAttribute('data-goal')),
    );
    expect(shown).toEqual(decided);
    const [file] = await Promise.all([page.waitForEvent('download'), page.click('#save-json')]);
    expect(file.suggestedFilename()).toMatch(/^webhmm-bench-cpu-.*\.json$/);
    await open();
    expect(await page.locator('[data-needs=report]:visible').count()).toBe(0);
    await page.setInputFiles('#open', await file.path());
    await page.waitForSelector(`html[data-cells="${cells}"]`);
    expect(await page.locator('[data-needs=report]:visible').count()).toBe(2);
  });

  test('lays saved runs over each other, and never mixes them', async () => {
    await open('?auto&engine=cpu&goal=G1,G20&direction=in-host');
    const report = await page.evaluate(() => window.webhmmBench);
    expect(await page.locator('#paths tfoot td').count()).toBeGreaterThan(0);
    const json = Buffer.from(JSON.stringify(report));
    const file = (name: string) => ({ name, mimeType: 'application/json', buffer: json });
    await page.setInputFiles('#open', [file('a.json'), file('b.json')]);
    await page.waitForSelector('[data-run=C]');
    const lines = await page.$$eval('#by-batch .u-legend .u-label', (all) =>
      all.map((one) => one.textContent),
    );
    for (const letter of ['A', 'B', 'C']) {
      expect(lines.some((line) => line?.endsWith(` · ${letter}`))).toBe(true);
    }
    await page.check('[data-run=B] input');
    await page.click('[data-run=A] button');
    expect(await page.locator('[data-run]').count()).toBe(2);
    const [picture] = await Promise.all([page.waitForEvent('download'), page.click('#save-png')]);
    expect(picture.suggestedFilename()).toMatch(/^webhmm-bench-cpu-.*\.png$/);
    const bytes = await readFile(await picture.path());
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    expect(bytes.length).toBeGreaterThan(10_000);
  });

  test('has what is chosen in its address', async () => {
    const address = 'engine=cpu&goal=G20&direction=in-host&counted=twice&seed=9';
    await open(`?${address}`);
    for (const [id, value] of new URLSearchParams(address)) {
      expect(await page.inputValue(`#${id}`)).toBe(value);
    }
    await page.fill('#seed', '10');
    await press('#start');
    await page.selectOption('#counted', 'once');
    await page.selectOption('#folio', '2097152');
    const query = [...new URL(page.url()).searchParams].map((pair) => pair.join('='));
    expect(query.slice(0, 3).toSorted()).toEqual(['engine=cpu', 'goal=G20', 'seed=10']);
    expect(query.slice(3).toSorted()).toEqual(['batch=64', 'direction=in-host', 'folio=2097152']);
  });

  test('shows a published table beside ours', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    expect(await page.locator('[data-who=published] tr').count()).toBe(7);
    expect(await page.locator('[data-who=here] tr').count()).toBeGreaterThan(2);
  });

  test('an address that asks for what there is not is refused with words', async () => {
    await open('?preset=warp');
    expect(await text('body')).toContain("There is no preset 'warp'.");
  });

  test('a file that is no report is refused with its reason', async () => {
    await open();
    const give = (name: string, body: string): Promise<void> =>
      page.setInputFiles('#open', { name, mimeType: 'text/plain', buffer: Buffer.from(body) });
    await give('a.json', '{"schema":');
    await page.waitForFunction(() => /a\.json is not JSON/.test(document.body.innerText));
    await give('b.json', '{"schema":"other/1"}');
    await page.waitForFunction(() => /b\.json is not a report/.test(document.body.innerText));
    expect(await marks()).not.toHaveProperty('cells');
  });

  test('a run can be cancelled, and no suite is no run', async () => {
    await open('?engine=cpu&suite=copy');
    await page.click('#start');
    await page.click('#cancel');
    await page.waitForSelector('html:not([data-busy])');
    expect(await text('#note')).toMatch(/^Cancelled after \d+ cells?\.$/);
    await page.uncheck('input[value=copy]');
    await press('#start');
    expect(await text('#note')).toBe('Choose at least one suite.');
  });
});
