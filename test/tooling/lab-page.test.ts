/*
 * The fault lab in the bundled Chromium: both sides run, step and pause; failures and policies of
 * one's own end their side alone; files and address carry everything.
 */
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { readSlices } from '../unit/driver/policy/chrome-reader.ts';
import { PageRig } from './page-rig.ts';

const SMALL = '05-fault-lab/?size=2&workload=random&a=none&b=tbn';

describe.skipIf(!bundleRunsHere())('fault lab page (needs Linux x64)', () => {
  const rig = new PageRig();

  const code = (text: string): Promise<void> =>
    rig.page.$eval(
      '#editor textarea',
      (area, value) => {
        (area as HTMLTextAreaElement).value = value;
        area.dispatchEvent(new Event('input', { bubbles: true }));
      },
      text,
    );

  test('runs both sides by itself and compares them', async () => {
    await rig.open(SMALL);
    expect(await rig.marks()).toMatchObject({ result: 'ok', aDone: 'true', bDone: 'true' });
    expect(await rig.text('#verdict')).toMatch(/^A took .* ms, B .* ms: B is [\d.]+ times as fast/);
    expect(await rig.text('#a-title')).toBe('A: none');
    expect(await rig.text('#b-note')).toMatch(/100 % of 512 accesses · batch \d+/);
    const kinds = await rig.page.$$eval('#a-map [data-kind]', (all) =>
      all.map((one) => Number((one as HTMLElement).dataset['count'])),
    );
    expect(kinds.reduce((sum, one) => sum + one, 0)).toBe(512);
    expect(await rig.text('#counters [data-count=faults]')).toMatch(/fault records\D+[1-9]/);
    expect(await rig.text('#costs [data-term=copy]')).toMatch(/transfers\s+\d/);
    await rig.page.click('#a-timeline summary');
    await rig.page.waitForSelector('#a-timeline tbody tr');
    expect(await rig.page.locator('#a-timeline tbody tr').count()).toBe(96);
    await rig.page.focus('#a-map canvas');
    await rig.page.keyboard.press('ArrowRight');
    await rig.page.keyboard.press('ArrowDown');
    const value = await rig.page.getAttribute('#a-map canvas', 'aria-valuetext');
    expect(value).toMatch(/^page 33 \(block 0\): (RAM|device|prefetched)/);
  });

  test('steps by batches and passes, and goes on from there', async () => {
    await rig.open(`${SMALL}&manual`);
    expect(await rig.text('#verdict')).toBe('Nothing has been run yet.');
    await rig.press('#step-batch');
    expect(await rig.marks()).toMatchObject({ aBatches: '1', bBatches: '1', aDone: 'false' });
    await rig.press('#step-batch');
    expect(await rig.marks()).toMatchObject({ aBatches: '2', bBatches: '2' });
    await rig.press('#step-pass');
    expect(Number((await rig.marks())['aBatches'])).toBeGreaterThan(2);
    await rig.press('#restart');
    expect(await rig.marks()).toMatchObject({ aBatches: '0', aUs: '0' });
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true' });
  });

  test('pauses a slow run, and new settings begin anew', async () => {
    // A minute at this speed: it is paused long before its end.
    await rig.open(`${SMALL}&manual&speed=100`);
    await rig.page.click('#run');
    await rig.page.waitForFunction(() => Number(document.documentElement.dataset['aBatches']) > 1);
    await rig.page.click('#pause');
    await rig.page.waitForSelector('html:not([data-busy])');
    const { aBatches, aDone } = await rig.marks();
    expect(aDone).toBe('false');
    expect(await rig.text('#verdict')).toMatch(/^At /);
    await rig.page.selectOption('#speed', '10000');
    // The first step ends the batch that the pause came into.
    for (const _ of [1, 2]) await rig.press('#step-batch');
    expect(Number((await rig.marks())['aBatches'])).toBeGreaterThan(Number(aBatches));
    await rig.page.fill('#size', '1');
    expect(await rig.text('#verdict')).toMatch(/^The settings have changed/);
    await rig.press('#step-batch');
    expect(await rig.marks()).toMatchObject({ aBatches: '1', bBatches: '1' });
    expect(Object.fromEntries(await rig.query())).toMatchObject({ size: '1', speed: '10000' });
  });

  test('a failure is put in the way of one side, and the run still ends', async () => {
    await rig.open(`${SMALL}&manual`);
    await rig.page.click('#inject-copy');
    await rig.page.waitForFunction(() => /no run under way/.test(document.body.innerText));
    await rig.press('#step-batch');
    await rig.page.selectOption('#inject-into', 'a');
    await rig.page.click('#inject-copy');
    await rig.page.waitForFunction(() => /next move of A/.test(document.body.innerText));
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true', result: 'ok' });
    expect(await rig.text('#a-events')).toMatch(/the copy of page \d+ failed: it stays in RAM/);
    expect(await rig.text('#b-events')).toBe('');
    expect(await rig.text('#inject-note')).toBe('');
  });

  test('a policy that throws ends its side alone', async () => {
    await rig.open(`${SMALL}&manual`);
    await rig.press('#step-batch');
    await rig.page.selectOption('#inject-into', 'b');
    await rig.page.click('#inject-throw');
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'false' });
    expect(await rig.text('#b-failure')).toMatch(/policy tbn, onFaults: throws: this failure/);
    expect(await rig.page.isVisible('#a-failure')).toBe(false);
    expect(await rig.text('#verdict')).toBe('B: tbn ended early.');
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true' });
    expect(await rig.page.isVisible('#b-failure')).toBe(false);
  });

  test("one's own policy runs, and goes along in the address", async () => {
    await rig.open('05-fault-lab/?size=2&workload=random&a=yours&b=none');
    expect(await rig.text('#a-title')).toBe('A: two pages at a time');
    expect(await rig.marks()).toMatchObject({ result: 'ok', aDone: 'true' });
    const text = await rig.page.inputValue('#editor textarea');
    await code(text.replace('two pages at a time', 'mine & yours'));
    await rig.press('#run');
    expect(await rig.text('#a-title')).toBe('A: mine & yours');
    const query = await rig.query();
    // Nobody's program runs because somebody followed a link.
    await rig.open(`05-fault-lab/?${query}`);
    expect(await rig.text('#verdict')).toMatch(/^This address brings a policy with it: read it/);
    expect(await rig.marks()).not.toHaveProperty('aDone');
    await rig.press('#run');
    expect(await rig.text('#a-title')).toBe('A: mine & yours');
  });

  test('what is wrong with it stands at its line', async () => {
    await rig.open('05-fault-lab/?size=1&workload=sweep&a=none&b=yours&manual');
    rig.expected = /Unexpected|Invalid/;
    await code('export const policy = {\n  onFaults() {},\n  chooseVictims( {},\n};\n');
    await rig.press('#run');
    expect(await rig.text('#editor .problems')).toMatch(/^line 4\s/);
    expect(await rig.marks()).toMatchObject({ aDone: 'true' });
    await code(
      'export const policy = {\n  onFaults() {\n    nothing();\n  },\n  chooseVictims() {},\n};\n',
    );
    await rig.press('#run');
    expect(await rig.text('#editor .problems')).toMatch(/line 3\s+policy yours, onFaults: throws/);
    await code('export const policy = { onFaults() {}, chooseVictims() {} };\n');
    await rig.press('#run');
    expect(await rig.text('#b-failure')).toMatch(/leaves the fault on page 0 without an answer/);
    await code('export const other = 1;\n');
    await rig.press('#run');
    expect(await rig.text('#b-failure')).toMatch(/exports no `policy`/);
  });

  test('one that never returns is ended, and the page goes on', async () => {
    await rig.open('05-fault-lab/?size=1&workload=sweep&a=none&b=yours&manual');
    await code('export const policy = { onFaults() { for (;;); }, chooseVictims() {} };\n');
    await rig.page.click('#run');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#b-failure')).toMatch(/no answer for 8 s: a policy that never returns/);
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'false' });
    await rig.page.selectOption('#b', 'tbn');
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true' });
  });

  test('the keyboard alone is enough, and keeps its place', async () => {
    await rig.open(`${SMALL}&manual&speed=100`);
    const focused = (): Promise<string> =>
      rig.page.evaluate(() => document.activeElement?.id ?? '');
    await rig.page.focus('#run');
    await rig.page.keyboard.press('Enter');
    await rig.page.waitForSelector('#pause:not([disabled])');
    await rig.page.focus('#pause');
    await rig.page.keyboard.press('Space');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await focused()).toBe('run');
    for (const id of ['step-batch', 'step-pass', 'restart']) {
      await rig.page.keyboard.press('Tab');
      expect(await focused()).toBe(id);
      const outline = await rig.page.$eval(`#${id}`, (one) => getComputedStyle(one).outlineStyle);
      expect(outline).not.toBe('none');
      await rig.page.keyboard.press('Enter');
      await rig.page.waitForSelector('html:not([data-busy])');
    }
    expect(await rig.marks()).toMatchObject({ aBatches: '0', bBatches: '0' });
  });

  test('every control has a name, the plots have theirs', async () => {
    await rig.open(`${SMALL}&kernel=increment&mover=uvm&kib=16`);
    await rig.page.$$eval('details', (all) => all.forEach((one) => (one.open = true)));
    expect(await rig.controlsWithoutName()).toEqual([]);
  });

  test('what an address asks for in vain is named; the page goes on without', async () => {
    await rig.open('05-fault-lab/?a=best&size=9999&workload=sweep&kib=x&mover=me&cost=nonsense');
    const words = await rig.text('#left-out');
    for (const part of [
      "no a 'best'",
      "'9999' is no size",
      'cost: ',
      "'x' is no kib",
      "no mover 'me'",
    ]) {
      expect(words).toContain(part);
    }
    expect(await rig.page.locator('#left-out').count()).toBe(1);
    expect(await rig.marks()).not.toHaveProperty('aDone');
    await rig.press('#run');
    expect(await rig.marks()).toMatchObject({ result: 'ok', aDone: 'true', bDone: 'true' });
    expect(Object.fromEntries(await rig.query())).toEqual({ workload: 'sweep' });
  });

  test('its address can be copied, with what is in its forms', async () => {
    await rig.open(`${SMALL}&manual`, { permissions: ['clipboard-read', 'clipboard-write'] });
    await rig.page.fill('#window', '16');
    await rig.page.selectOption('#kernel', 'chase');
    await rig.page.click('#copy-address');
    await rig.page.waitForFunction(() => /^Copied/m.test(document.body.innerText));
    const copied = await rig.page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toBe(await rig.page.evaluate(() => location.href));
    expect(Object.fromEntries(await rig.query())).toMatchObject({ window: '16', kernel: 'chase' });
    await rig.page.fill('#window', '0');
    await rig.page.click('#copy-address');
    expect(await rig.text('#files-note')).toMatch(/^'0' is no window\. Use a whole number/);
  });

  test('gives a Chrome trace, the result with its cost model, and the access trace', async () => {
    await rig.open(`${SMALL}&cost=linkGiBs%3A24`);
    const lives = readSlices(await rig.download('#a-chrome'));
    expect(lives.every(({ args }) => 'raisedUs' in args && 'replayedUs' in args)).toBe(true);
    const result = JSON.parse(await rig.download('#save-json')) as Record<string, unknown>;
    const { counts } = result['a'] as { counts: { faults: number; duplicates: number } };
    expect(lives).toHaveLength(counts.faults - counts.duplicates);
    expect(result).toMatchObject({
      schema: 'webhmm-fault-lab-1',
      work: 'random, 512 pages',
      options: { cost: { linkGiBs: 24 } },
      a: { policy: 'none', cost: { linkGiBs: 24 } },
      b: { policy: 'tbn' },
    });
    const csv = await rig.download('#save-trace');
    const { aUs } = await rig.marks();
    await rig.open('05-fault-lab/?a=none&b=tbn&cost=linkGiBs%3A24&manual');
    await rig.give('#open', 'bad.csv', 'workgroup,lane,page,access\n0,0,x,R\n');
    await rig.page.waitForFunction(() => /bad\.csv: line 2/.test(document.body.innerText));
    expect(await rig.text('#files-note')).toMatch(/bad\.csv: line 2/);
    await rig.give('#open', 'again.csv', csv);
    await rig.page.waitForSelector('#trace:not([hidden])');
    await rig.press('#run');
    expect((await rig.marks())['aUs']).toBe(aUs);
  });
});
