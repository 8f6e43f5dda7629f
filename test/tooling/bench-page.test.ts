/*
 * The page of the copy benchmark, built and served, in the bundled browser.
 */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { openWhileRunning } from './open-while-running.ts';
import { PageRig } from './page-rig.ts';

/** Sizes of copies whose run takes twenty seconds: nobody is too late to cancel it. */
const LONG = 'folios=4K,16K,64K,256K&batches=1,4,16,64,256';

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
    await rig.page.selectOption('#map', 'to-host/scattered');
    expect((await rig.query()).get('map')).toBe('to-host/scattered');
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
    const query = [...(await rig.query())].map((pair) => pair.join('='));
    expect(query.slice(0, 3).toSorted()).toEqual(['engine=cpu', 'goal=G20', 'seed=10']);
    expect(query.slice(3).toSorted()).toEqual(['batch=64', 'direction=in-host', 'folio=2097152']);
  });

  test('shows a published table beside ours', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    expect(await rig.page.locator('[data-who=published] tr').count()).toBe(7);
    expect(await rig.page.locator('[data-who=here] tr').count()).toBeGreaterThan(2);
    expect(await rig.text('#env')).toContain('preset xe-phases (quick)');
    // It draws nothing, so there is no picture of it.
    expect(await rig.page.isDisabled('#save-png')).toBe(true);
    expect(await rig.page.isDisabled('#save-csv')).toBe(false);
  });

  test('settings of copies come from the address, act, and are said', async () => {
    const settings = 'fragments=targets&channels=4&ring=2&verify=off';
    await open(`?auto&engine=cpu&suite=copy&goal=none&${settings}`);
    for (const [id, value] of new URLSearchParams(settings)) {
      expect(await rig.page.inputValue(`#${id}`)).toBe(value);
    }
    const report = await rig.page.evaluate(() => window.webhmmBench);
    expect(report?.env.settings).toEqual({
      fragments: 'targets',
      ringDepth: 2,
      channels: 4,
      verify: 'off',
    });
    const cell = report?.cells.find(({ id }) => id === 'copy/to-device/cpu/4096/64');
    expect(cell).toMatchObject({ unchecked: true, verified: false, counts: { lists: 4 } });
    expect(await rig.text('#caution')).toMatch(/^Nobody looked at the results of \d+ cells\./);
    expect(await rig.text('#env')).toContain('only targets scattered, rings of 2, 4 channels');
    expect(await rig.marks()).toMatchObject({ result: 'ok', unverified: '0' });
  });

  test('only some copies are made where the address says so', async () => {
    await open('?auto&engine=cpu&suite=copy&goal=none&directions=to-host&folios=16K&batches=1,4');
    const report = await rig.page.evaluate(() => window.webhmmBench);
    const copies = report?.cells.filter(({ id }) => id.startsWith('copy/')).map(({ id }) => id);
    expect(copies?.toSorted()).toEqual([
      'copy/in-host/cpu/16384/1',
      'copy/in-host/cpu/16384/4',
      'copy/to-host/cpu/16384/1',
      'copy/to-host/cpu/16384/4',
    ]);
    expect(await rig.page.isVisible('input[name=folios][value="16K"]:checked')).toBe(true);
    await rig.page.check('input[name=folios][value="4K"]');
    await rig.press('#start');
    expect((await rig.query()).get('folios')).toBe('4K,16K');
  });

  test('bars of phases are in the picture, and there is one of them alone', async () => {
    await open('?auto&engine=cpu&suite=mm&goal=none');
    expect(await rig.page.locator('#mm .phases').count()).toBe(2);
    const [picture] = await Promise.all([
      rig.page.waitForEvent('download'),
      rig.page.click('#save-png'),
    ]);
    const bytes = await readFile(await picture.path());
    // Width and height stand in its header: two bars below three lines of text.
    expect([bytes.readUInt32BE(16), bytes.readUInt32BE(20)]).toEqual([
      expect.toSatisfy((width: number) => width >= 560),
      expect.toSatisfy((height: number) => height > 250),
    ]);
    // The same phase has the same colour in both bars.
    const colours = await rig.page.$$eval('#mm li', (all) =>
      all.map((one) => [
        one.textContent.replace(/ \d+ %/, ''),
        getComputedStyle(one.querySelector('span')!).backgroundColor,
      ]),
    );
    expect(colours.length).toBe(8);
    expect(new Set(colours.map((pair) => pair.join())).size).toBe(4);
  });

  test('every plot has the CPU copy beside what it shows', async () => {
    await open('?auto&engine=cpu&suite=copy,migrate&goal=none');
    for (const id of ['by-folio', 'by-batch', 'by-size', 'migrate', 'first-page']) {
      const names = await rig.page.$$eval(`#${id} .u-legend .u-label`, (all) =>
        all.map((one) => one.textContent),
      );
      expect(names.length).toBeGreaterThan(2);
      expect(names).toContain('CPU copy, RAM to RAM');
    }
    const firsts = await rig.page.$$eval('#first-page .u-label', (all) => all.length);
    expect(firsts).toBe(4);
  });

  test('the keyboard alone starts a run and cancels it, and every control has a name', async () => {
    await open(`?engine=cpu&suite=copy&${LONG}`);
    const unnamed = await rig.page.$$eval('main :is(input, select, button)', (all) =>
      all
        .filter((one) => {
          const { labels } = one as HTMLInputElement;
          return (labels?.length ?? 0) === 0 && one.textContent?.trim() === '';
        })
        .map(({ id }) => id),
    );
    expect(unnamed).toEqual([]);
    await rig.page.focus('#seed');
    await rig.page.keyboard.press('Enter');
    await rig.page.waitForSelector('html[data-busy]');
    for (let i = 0; i < 3; i++) {
      await rig.page.keyboard.press('Tab');
      if ((await rig.page.evaluate(() => document.activeElement?.id)) === 'cancel') break;
    }
    await rig.page.keyboard.press('Enter');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after/);
  });

  test('a report on a phone is no wider than the phone', async () => {
    await rig.open('03-copy-bench/?auto&engine=cpu&suite=copy,migrate&goal=none', {
      viewport: { width: 390, height: 844 },
    });
    const wide = await rig.page.evaluate(() => document.documentElement.scrollWidth);
    expect(wide).toBeLessThanOrEqual(390);
  });

  test('a tab that is hidden meanwhile is said at once, and in the report', async () => {
    await open('?engine=cpu&suite=mm');
    // All in one step of the page: seen from outside, the run might be over.
    const caution = await rig.page.evaluate(() => {
      document.getElementById('start')!.click();
      Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
      return document.getElementById('caution')!.innerText;
    });
    expect(caution).toContain('The tab was hidden');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#caution')).toContain('measure again');
    expect(await rig.text('#env')).toContain('yes: worthless');
  });

  test.each([
    ['?channels=0', "'0' is no channels."],
    ['?ring=9', "'9' is no ring."],
    ['?fragments=dust', "There is no fragments 'dust'."],
    ['?verify=maybe', "There is no verify 'maybe'."],
    ['?goal=G99', "There is no goal 'G99'."],
    ['?seed=-1', "'-1' is no seed."],
    ['?map=to-device/dust', "There is no map 'to-device/dust'."],
    ['?folio=huge', "folio: 'huge' is neither a size in bytes nor mix."],
    ['?direction=up', "There is no direction 'up'."],
    ['?chanels=4', "There is no setting 'chanels'."],
    ['?seed=1&seed=2', "The setting 'seed' is there twice."],
    ['?suite=copy,%20mm', "There is no suite ' mm'."],
    ['?channels=', "'' is no channels."],
  ])('%s is refused with words', async (query, words) => {
    await open(query);
    expect(await rig.text('body')).toContain(words);
  });

  test('an address that asks for what there is not is refused with words', async () => {
    await open('?preset=warp');
    expect(await rig.text('body')).toContain("There is no preset 'warp'.");
  });

  test('a file that is no report is refused alone, and can be opened again', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    const report = await rig.page.evaluate(() => window.webhmmBench);
    const file = (name: string, body: string) => ({
      name,
      mimeType: 'application/json',
      buffer: Buffer.from(body),
    });
    const good = file('good.json', JSON.stringify(report));
    await rig.page.setInputFiles('#open', [file('bad.json', '{'), good]);
    await rig.page.waitForSelector('[data-run=B]');
    await rig.page.waitForFunction(() => /bad\.json is not JSON/.test(document.body.innerText));
    expect(await rig.page.inputValue('#open')).toBe('');
  });

  test('what a published table does not use is off, and the page says why', async () => {
    await open('?engine=cpu&preset=xe-phases&suite=mm&goal=G2&verify=off');
    const off = (): Promise<(string | null)[]> =>
      rig.page.$$eval('#form [name]:disabled', (all) => [
        ...new Set(all.map((one) => one.getAttribute('name'))),
      ]);
    const copies = ['directions', 'strategies', 'folios', 'batches'];
    const settings = ['fragments', 'channels', 'verify'];
    expect(await off()).toEqual(['suite', 'power', ...copies, ...settings, 'goal']);
    expect(await rig.text('#unused')).toMatch(
      /^Off: suites, directions, .*, only goals, or none \(a published table has copies of its own/,
    );
    expect(await rig.page.getAttribute('#verify', 'aria-describedby')).toBe('unused');
    await rig.press('#start');
    expect([...(await rig.query()).keys()].toSorted()).toEqual(['engine', 'preset']);
    expect(await rig.page.locator('[data-who=here] tr').count()).toBeGreaterThan(2);
    // What was chosen counts again without the table: the goal, which makes no sweep.
    await rig.page.selectOption('#preset', '');
    expect(await off()).toEqual(['power', ...copies, ...settings]);
    await rig.page.fill('#goal', '');
    expect(await rig.text('#unused')).toContain('they are of the suite copy, which is not chosen');
    await rig.page.check('input[value=copy]');
    await rig.page.selectOption('#engine', 'webgpu');
    expect(await off()).toEqual([]);
    expect(await rig.page.isVisible('#unused')).toBe(false);
    expect(await rig.page.inputValue('#verify')).toBe('off');
    await rig.page.fill('#soak', '1');
    expect(await off()).toEqual(['suite', 'quick', 'preset', ...copies, ...settings, 'goal']);
  });

  test('every file that is opened gets a message, and so does a copied table', async () => {
    await open('?auto&engine=cpu&suite=copy&goal=none&folios=4K&batches=1');
    const report = await rig.page.evaluate(() => window.webhmmBench);
    const json = JSON.stringify(report);
    await rig.give('#open', 'second.json', json);
    await rig.page.waitForSelector('[data-run=B]');
    expect(await rig.text('#files-note')).toMatch(
      /^Opened second\.json as run B: CPU engine, .* The plots lay it over the others; choose/,
    );
    await rig.page.click('#mail summary');
    await rig.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await rig.page.click('#copy-mail');
    await expect.poll(() => rig.text('#mail-note')).toBe('Copied.');
    const copied = await rig.page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toContain('strategy  4K x1');
    await rig.page.evaluate(() => {
      const writeText = (): Promise<void> => Promise.reject(new Error('not allowed'));
      Object.defineProperty(navigator, 'clipboard', { value: { writeText } });
    });
    await rig.page.click('#copy-mail');
    await expect.poll(() => rig.text('#mail-note')).toContain('The text is selected');
    const selected = await rig.page.evaluate(() => getSelection()?.toString());
    expect(selected?.trim()).toBe(copied.trim());
  });

  test('a report that is opened during a run leaves its progress alone', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    const report = JSON.stringify(await rig.page.evaluate(() => window.webhmmBench));
    await open('?engine=cpu&suite=copy&goal=none');
    const seen = await rig.page.evaluate(openWhileRunning, report);
    expect(seen.note).toMatch(/^\d+ of \d+ · /);
    expect(seen.value).toBeLessThan(seen.max);
    expect(seen.said).toContain('Opened early.json as run A');
    expect([seen.showsPreset, seen.isLocked]).toEqual([false, true]);
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^\d+ cells in /);
    expect(await rig.page.isChecked('[data-run=B] input')).toBe(true);
    await rig.page.check('[data-run=A] input');
    expect(await rig.page.isVisible('[data-needs=preset]')).toBe(true);
  });

  test('batches of several sizes are in the plots and in the table for lists', async () => {
    await open('?auto&engine=cpu&suite=copy&goal=none&folios=4K,mix&batches=64&folio=mix');
    expect(await rig.page.inputValue('#folio')).toBe('mix');
    expect(await rig.text('#by-batch-title')).toBe(
      'Against batch, folios of 4 KiB, 64 KiB and 2 MiB',
    );
    const lines = await rig.page.$$eval('#by-batch .u-legend .u-label', (all) => all.length);
    expect(lines).toBeGreaterThan(2);
    expect(await rig.page.textContent('#mail-text')).toMatch(/strategy +4K x64 +mix x64\n/);
    await rig.page.selectOption('#folio', '4096');
    expect((await rig.query()).get('folio')).toBe('4096');
  });

  test('a soak has a table of what was in use at its beginning and its end', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    expect(await rig.page.isVisible('#soak-table')).toBe(false);
    const report = (await rig.page.evaluate(() => window.webhmmBench))!;
    const params = { minutes: 3, rounds: 72, processes: 3, what: 'pages in use' };
    const cell = { ...report.cells[0]!, id: 'soak/pages', unit: 'bytes', params };
    const { presets: _, ...rest } = report;
    const soak = { ...rest, cells: [cell], env: { ...report.env, soakMinutes: 3 } };
    await rig.give('#open', 'soak.json', JSON.stringify(soak));
    await rig.page.waitForSelector('[data-run=B]');
    await rig.page.check('[data-run=B] input');
    expect(await rig.text('#soak-table')).toContain('Soak: 3 min, 72 rounds in 3 processes');
    expect(await rig.text('#soak-table')).toContain('pages in use');
    expect(await rig.text('#env')).toContain('soak of 3 min');
  });

  test('six runs are the most; a seventh is refused before it begins', async () => {
    await open('?auto&engine=cpu&preset=xe-phases');
    const report = JSON.stringify(await rig.page.evaluate(() => window.webhmmBench));
    const file = (name: string) => ({
      name,
      mimeType: 'application/json',
      buffer: Buffer.from(report),
    });
    const names = ['b', 'c', 'd', 'e', 'f', 'g'].map((name) => file(`${name}.json`));
    await rig.page.setInputFiles('#open', names);
    await rig.page.waitForSelector('[data-run=F]');
    await expect
      .poll(() => rig.text('#files-note'))
      .toContain('g.json was not opened. There are 6');
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('There are 6 runs already: remove one first.');
    await rig.page.click('[data-run=C] button');
    await rig.press('#start');
    expect(await rig.page.isChecked('[data-run=C] input')).toBe(true);
  });

  test('on a phone Cancel is in reach wherever the page is scrolled to', async () => {
    await rig.open(`03-copy-bench/?engine=cpu&suite=copy&${LONG}`, {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
    });
    const top = (): Promise<number> =>
      rig.page.$eval('#cancel', (one) => one.getBoundingClientRect().top);
    expect(await top()).toBeGreaterThan(844);
    await rig.page.$eval('#start', (one) => (one as HTMLButtonElement).click());
    await rig.page.waitForFunction(() => document.querySelectorAll('#cells tbody tr').length > 3);
    const places = [];
    for (const y of [0, 10_000]) {
      await rig.page.evaluate((to) => window.scrollTo(0, to), y);
      places.push(await top());
      expect(places.at(-1)).toBeGreaterThanOrEqual(0);
      expect(places.at(-1)).toBeLessThan(844 - 36);
    }
    // Below the form it waits at the bottom, past it at the top.
    expect(places[0]).toBeGreaterThan(places[1]!);
    await rig.page.tap('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after \d+ cells\.$/);
  });

  test('a cancelled run hides what is of the run before it, until that is chosen', async () => {
    await open(`?engine=cpu&suite=mm&${LONG}`);
    await rig.press('#start');
    expect(await rig.page.isVisible('#goals')).toBe(true);
    await rig.page.uncheck('input[value=mm]');
    await rig.page.check('input[value=copy]');
    await rig.page.click('#start');
    await rig.page.waitForFunction(() =>
      /^(1[5-9]|[2-9]\d|\d{3,}) of/.test(document.getElementById('note')!.innerText),
    );
    expect(await rig.page.isVisible('#goals')).toBe(false);
    await rig.page.click('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.page.isVisible('#goals')).toBe(false);
    expect(await rig.page.isVisible('#by-folio')).toBe(true);
    await rig.page.click('[data-run=A] input');
    expect(await rig.page.isVisible('#goals')).toBe(true);
    expect(await rig.page.isVisible('#by-folio')).toBe(false);
  });

  test('without an adapter the page says so, not that the CPU engine was chosen', async () => {
    await open('?engine=cpu&suite=mm');
    expect(await rig.text('[data-status=adapter]')).toContain('CPU engine');
    await rig.page.evaluate(() => {
      const requestAdapter = (): Promise<null> => Promise.resolve(null);
      Object.defineProperty(navigator, 'gpu', { value: { requestAdapter } });
    });
    await rig.page.selectOption('#engine', 'webgpu');
    await expect.poll(() => rig.text('[data-status=adapter]')).toContain('no WebGPU adapter here');
  });

  test('what the form can not ask for is said beside Start, and nothing runs', async () => {
    await open('?engine=cpu&suite=mm');
    await rig.page.fill('#goal', 'G99');
    await rig.press('#start');
    expect(await rig.text('#note')).toContain("There is no goal 'G99'. Use one of: G1, G2,");
    await rig.page.fill('#goal', '');
    for (const channels of ['0', '']) {
      await rig.page.check('input[value=copy]');
      await rig.page.fill('#channels', channels);
      await rig.press('#start');
      expect(await rig.text('#note')).toBe('A number is missing, or out of its range.');
    }
    expect(await rig.page.locator('#trouble').count()).toBe(0);
    expect(await rig.marks()).not.toHaveProperty('cells');
  });

  test('the address can be copied before anything has been run', async () => {
    await open('?engine=cpu&suite=mm');
    await rig.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await rig.page.fill('#seed', '77');
    await rig.page.click('#copy-address');
    await expect.poll(() => rig.text('#files-note')).toMatch(/^Copied/);
    const copied = await rig.page.evaluate(() => navigator.clipboard.readText());
    expect(Object.fromEntries(new URL(copied).searchParams)).toEqual({
      engine: 'cpu',
      suite: 'mm',
      seed: '77',
    });
  });

  test('a file that is no report is refused with its reason', async () => {
    await open();
    const give = (name: string, body: string): Promise<void> =>
      rig.page.setInputFiles('#open', { name, mimeType: 'text/plain', buffer: Buffer.from(body) });
    await give('a.json', '{"schema":');
    await rig.page.waitForFunction(() => /a\.json is not JSON/.test(document.body.innerText));
    await give('b.json', '{"schema":"other/1"}');
    await rig.page.waitForFunction(() => /b\.json is not a report/.test(document.body.innerText));
    expect(await rig.text('#files-note')).toBe(
      "b.json is not a report that can be read: its schema is 'other/1', " +
        "this version reads 'webhmm-bench/1'.",
    );
    await give(
      'c.json',
      '{"schema":"webhmm-bench/1","env":{"adapter":{}},"cells":[],' +
        '"omitted":[],"goals":[],"wallSeconds":1}',
    );
    await rig.page.waitForFunction(() => /c\.json is not a whole/.test(document.body.innerText));
    expect(await rig.marks()).not.toHaveProperty('cells');
  });

  test('a run can be cancelled, and no suite is no run', async () => {
    await open(`?engine=cpu&suite=copy&${LONG}`);
    await rig.page.click('#start');
    await rig.page.click('#cancel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await rig.text('#note')).toMatch(/^Cancelled after \d+ cells?\.$/);
    await rig.page.uncheck('input[value=copy]');
    await rig.press('#start');
    expect(await rig.text('#note')).toBe('Choose at least one suite.');
  });
});
