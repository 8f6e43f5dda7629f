/*
 * The page of the copy benchmark, built and served, in the bundled browser.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { PageRig } from './page-rig.ts';

describe.skipIf(!bundleRunsHere())('the copy benchmark (needs Linux x64)', () => {
  const rig = new PageRig();
  const open = (query = ''): Promise<void> => rig.open(`03-copy-bench/${query}`);

  test('runs when the address says so, and hands over its report', async () => {
    await open('?auto&suite=mm&quick=1&seed=7&engine=cpu');
    const report = await rig.page.evaluate(() => window.webhmmBench);
    expect(report?.cells.length).toBeGreaterThan(0);
    expect(report?.env).toMatchObject({ seed: 7, quick: true, suites: ['mm'], engine: 'cpu' });
    const cells = String(report?.cells.length);
    expect(await rig.marks()).toMatchObject({ result: 'ok', cells, unverified: '0' });
    expect(await rig.page.locator('#cells tbody tr').count()).toBe(report?.cells.length);
    const decided = report?.goals.filter(({ holds }) => holds !== null).map(({ id }) => id);
    const shown = await rig.page.$$eval('[data-goal]', (all) =>
      all.map((one) => one.getAttribute('data-goal')),
    );
    expect(shown).toEqual(decided);
    const [file] = await Promise.all([
      rig.page.waitForEvent('download'),
      rig.page.click('#save-json'),
    ]);
    expect(file.suggestedFilename()).toMatch(/^webhmm-bench-cpu-.*\.json$/);
    // A download goes with its page.
    const buffer = await readFile(await file.path());
    await open();
    expect(await rig.page.locator('[data-needs=report]:visible').count()).toBe(0);
    const saved = { name: file.suggestedFilename(), mimeType: 'application/json', buffer };
    await rig.page.setInputFiles('#open', saved);
    await rig.page.waitForSelector(`html[data-cells="${cells}"]`);
    expect(await rig.page.locator('[data-needs=report]:visible').count()).toBe(2);
  });

  test('lays saved runs over each other, and never mixes them', async () => {
    await open('?auto&engine=cpu&goal=G1,G20&direction=in-host');
    const report = await rig.page.evaluate(() => window.webhmmBench);
    expect(await rig.page.locator('#paths tfoot td').count()).toBeGreaterThan(0);
    const json = Buffer.from(JSON.stringify(report));
    const file = (name: string) => ({ name, mimeType: 'application/json', buffer: json });
    await rig.page.setInputFiles('#open', [file('a.json'), file('b.json')]);
    await rig.page.waitForSelector('[data-run=C]');
    const lines = await rig.page.$$eval('#by-batch .u-legend .u-label', (all) =>
      all.map((one) => one.textContent),
    );
    for (const letter of ['A', 'B', 'C']) {
      expect(lines.some((line) => line?.endsWith(` · ${letter}`))).toBe(true);
    }
    await rig.page.check('[data-run=B] input');
    await rig.page.click('[data-run=A] button');
    expect(await rig.page.locator('[data-run]').count()).toBe(2);
    const [picture] = await Promise.all([
      rig.page.waitForEvent('download'),
      rig.page.click('#save-png'),
    ]);
    expect(picture.suggestedFilename()).toMatch(/^webhmm-bench-cpu-.*\.png$/);
    const bytes = await readFile(await picture.path());
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    expect(bytes.length).toBeGreaterThan(10_000);
  });

  test('has what is chosen in its address', async () => {
    const address = 'engine=cpu&goal=G20&direction=in-host&counted=twice&seed=9';
    await open(`?${address}`);
    for (const [id, value] of new URLSearchParams(address)) {
      expect(await rig.page.inputValue(`#${id}`)).toBe(value);
    }
    await rig.page.fill('#seed', '10');
    await rig.press('#start');
    await rig.page.selectOption('#counted', 'once');
    await rig.page.selectOption('#folio', '2097152');
    const query = [...new URL(rig.page.url()).searchParams].map((pair) => pair.join('='));
    expect(query.slice(0, 3).toSorted()).toEqual(['engine=cpu', 'goal=G20', 'seed=10']);
    expect(query.slice(3).toSorted()).toEqual(['batch=64', 'direction=in-host', 'folio=2097152']);
  });

  test('shows a published table beside ours', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    expect(await rig.page.locator('[data-who=published] tr').count()).toBe(7);
    expect(await rig.page.locator('[data-who=here] tr').count()).toBeGreaterThan(2);
  });

  test('an address that asks for what there is not is refused with words', async () => {
    await open('?preset=warp');
    expect(await rig.text('body')).toContain("There is no preset 'warp'.");
  });

  test('a file that is no report is refused with its reason', async () => {
    await open();
    const give = (name: string, body: string): Promise<void> =>
      rig.page.setInputFiles('#open', { name, mimeType: 'text/plain', buffer: Buffer.from(body) });
    await give('a.json', '{"schema":');
    await rig.page.waitForFunction(() => /a\.json is not JSON/.test(document.body.innerText));
    await give('b.json', '{"schema":"other/1"}');
    await rig.page.waitForFunction(() => /b\.json is not a report/.test(document.body.innerText));
    expect(await rig.marks()).not.toHaveProperty('cells');
  });

  test('a run can be cancelled, and no suite is no run', async () => {
    await open('?engine=cpu&suite=copy');
    await rig.page.click('#start');
    await rig.page.click('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after \d+ cells?\.$/);
    await rig.page.uncheck('input[value=copy]');
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('Choose at least one suite.');
  });
});
