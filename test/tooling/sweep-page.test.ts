/*
 * The oversubscription page in the bundled Chromium: what it sweeps by itself and when asked, what
 * stands in its address, and its files.
 */
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { PageRig } from './page-rig.ts';

const SMALL = '06-oversubscription/?size=4&policies=tbn,none&workload=cyclic';

describe.skipIf(!bundleRunsHere())('oversubscription page (needs Linux x64)', () => {
  const rig = new PageRig();

  test('sweeps by itself: a curve and a line per policy, with its reason', async () => {
    await rig.open(SMALL);
    expect(await rig.marks()).toMatchObject({ result: 'ok', cells: '22' });
    expect(await rig.text('#note')).toMatch(/^22 runs of 4,096 accesses to 4 MiB in/);
    for (const policy of ['tbn', 'none']) {
      const line = rig.page.locator(`#cliffs tr[data-policy=${policy}]`);
      expect(await line.getAttribute('data-edge')).toMatch(/^1\.(05|1)$/);
    }
    expect(await rig.text('#reasons')).toMatch(/tbn\s+A page comes [\d.]+ times/);
    expect(await rig.page.locator('.uplot').count()).toBe(3);
    await rig.page.click('#time summary');
    await rig.page.waitForSelector('#time details tbody tr');
    expect(await rig.page.locator('#time details tbody tr').count()).toBe(11);
    expect(await rig.controlsWithoutName()).toEqual([]);
    await rig.page.click('#cells-summary');
    expect(await rig.page.locator('#cells tbody tr').count()).toBe(22);
  });

  test('keeps its settings in the address, and takes them from it', async () => {
    await rig.open('06-oversubscription/?manual');
    expect(await rig.marks()).not.toHaveProperty('cells');
    await rig.page.selectOption('#workload', 'random');
    await rig.page.fill('#size', '1');
    for (const name of ['uvm', 'kfd', 'adaptive', 'none', 'tbn-lru4k']) {
      await rig.page.uncheck(`input[value=${name}]`);
    }
    await rig.page.click('#cost summary');
    await rig.page.fill('#cost-linkGiBs', '24');
    await rig.page.click('#more summary');
    await rig.page.selectOption('#evict', 'lfu2m');
    await rig.press('#start');
    expect(await rig.marks()).toMatchObject({ cells: '11' });
    const query = await rig.query();
    expect(Object.fromEntries(query)).toEqual({
      manual: '',
      workload: 'random',
      size: '1',
      policies: 'tbn',
      evict: 'lfu2m',
      cost: 'linkGiBs:24',
    });
    query.delete('manual');
    const first = await rig.download('#save-json');
    await rig.open(`06-oversubscription/?${query}`);
    expect(await rig.page.inputValue('#cost-linkGiBs')).toBe('24');
    expect(await rig.text('#cost summary')).toBe('Cost model: 1 of its terms changed');
    expect(await rig.page.isVisible('#evict')).toBe(true);
    expect(await rig.download('#save-json')).toBe(first);
    const saved = JSON.parse(first) as { cost: object; cells: object[]; work: string };
    expect(saved).toMatchObject({ work: 'random, 256 pages', cost: { linkGiBs: 24 } });
    expect(saved.cells).toHaveLength(11);
  });

  test('an address that asks for what is not there is explained', async () => {
    await rig.open('06-oversubscription/?policies=tbn,nvlink&size=-1&workload=sweep');
    expect(await rig.text('#left-out')).toMatch(/no policies 'nvlink'[^]*Use one of: uvm, xe/);
    expect(await rig.text('#left-out')).toMatch(/'-1' is no size\. Use a whole number from 1/);
    expect(await rig.page.inputValue('#workload')).toBe('sweep');
    expect(await rig.marks()).not.toHaveProperty('cells');
    await rig.page.fill('#size', '1');
    await rig.press('#start');
    expect(await rig.marks()).toMatchObject({ result: 'ok', cells: '66' });
    await rig.page.click('#left-out button');
    expect(await rig.page.locator('#left-out').count()).toBe(0);
    await rig.open('06-oversubscription/?cost=farFaultUs:-3');
    expect(await rig.text('#left-out')).toMatch(/farFaultUs must be a number, 0 or more/);
  });

  test('no policy is no run, and a field out of its range is none either', async () => {
    await rig.open(`${SMALL}&manual`);
    await rig.page.fill('#size', '0');
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('Nothing has been run yet.');
    await rig.page.fill('#size', '2');
    for (const name of ['tbn', 'none']) await rig.page.uncheck(`input[value=${name}]`);
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('Choose at least one policy.');
  });

  test('a run can be cancelled, and the next one begins anew', async () => {
    await rig.open('06-oversubscription/?manual&workload=matmul&size=64&policies=none');
    await rig.page.click('#start');
    await rig.page.click('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after \d+ runs?\.$/);
    await rig.page.selectOption('#workload', 'sweep');
    await rig.page.fill('#size', '1');
    await rig.press('#start');
    expect(await rig.text('#note')).toMatch(/^11 runs of 256 accesses/);
  });

  test('a recorded trace replaces the workload; what is no trace is refused', async () => {
    await rig.open(`${SMALL}&manual`);
    await rig.give('#open', 'bad.csv', 'workgroup,lane,page,access\n0,0,1,R\n0,0,x,R\n');
    await rig.page.waitForFunction(() => /bad\.csv: line 3/.test(document.body.innerText));
    expect(await rig.page.isVisible('#trace')).toBe(false);
    const lines = Array.from({ length: 64 }, (_, i) => `${i},0,${i % 16},R`);
    await rig.give('#open', 'mine.csv', ['workgroup,lane,page,access', ...lines].join('\n'));
    await rig.page.waitForSelector('#trace:not([hidden])');
    expect(await rig.text('#trace')).toMatch(/mine\.csv: 64 accesses to 64 KiB/);
    expect(await rig.page.isDisabled('#workload')).toBe(true);
    await rig.press('#start');
    expect(await rig.text('#note')).toMatch(/^22 runs of 64 accesses to 64 KiB/);
    const csv = await rig.download('#save-csv');
    expect(csv).toMatch(/^# WebHMM oversubscription sweep of the trace mine\.csv\n/);
    expect(csv).toMatch(/^# cost \{"farFaultUs":45,/m);
    expect(csv.match(/^(tbn|none),/gm)).toHaveLength(22);
    await rig.page.click('#drop');
    expect(await rig.page.isDisabled('#workload')).toBe(false);
  });

  test("one's own policy has a curve, and what is wrong with it stands at its line", async () => {
    await rig.open(`${SMALL}&manual&size=1`);
    await rig.page.check('input[value=yours]');
    expect(await rig.page.isVisible('#editor textarea')).toBe(true);
    await rig.press('#start');
    expect(await rig.marks()).toMatchObject({ cells: '33', result: 'ok' });
    const line = rig.page.locator('#cliffs tr[data-policy=yours]');
    expect(await line.getAttribute('data-edge')).toMatch(/^1\./);
    const text = await rig.page.inputValue('#editor textarea');
    await rig.page.fill(
      '#editor textarea',
      text.replace('if (victims', 'nothing();\n if (victims'),
    );
    await rig.press('#start');
    expect(await line.innerText()).toMatch(/stuck at 1\.05×/);
    expect(await rig.text('#editor .problems')).toMatch(/^line 15\s+policy two .*nothing is not/);
    const query = await rig.query();
    rig.expected = /Unexpected|Invalid/;
    await rig.page.fill('#editor textarea', 'export const policy = {\n  onFaults( {},\n};\n');
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('Your policy can not be run: see below it.');
    expect(await rig.text('#editor .problems')).toMatch(/^line 3\s/);
    await rig.page.uncheck('input[value=yours]');
    await rig.press('#start');
    expect(await rig.marks()).toMatchObject({ cells: '22' });
    expect((await rig.query()).has('code')).toBe(false);
    query.delete('manual');
    await rig.open(`06-oversubscription/?${query}`);
    expect(await rig.text('#note')).toMatch(/^This address brings a policy with it: read it/);
    expect(await rig.marks()).not.toHaveProperty('cells');
  });

  test('one that never returns goes with Cancel', async () => {
    await rig.open(`${SMALL}&manual&size=1`);
    await rig.page.check('input[value=yours]');
    const code = 'export const policy = { onFaults() { for (;;); }, chooseVictims() {} };\n';
    await rig.page.fill('#editor textarea', code);
    await rig.page.click('#start');
    await rig.page.waitForFunction(() => /2 of 33 runs/.test(document.body.innerText));
    await rig.page.click('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after 2 runs/);
    await rig.page.uncheck('input[value=yours]');
    await rig.press('#start');
    expect(await rig.marks()).toMatchObject({ cells: '22' });
  });

  test('the published experiment holds, and says so relation by relation', async () => {
    await rig.open(`${SMALL}&manual`);
    await rig.press('#reproduce');
    const marks = await rig.page.$$eval('#experiment .badge', (all) =>
      all.map((one) => one.textContent),
    );
    expect(marks).toEqual(Array.from({ length: 6 }, () => 'holds'));
  });
});
