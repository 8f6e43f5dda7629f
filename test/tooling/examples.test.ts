/*
 * The pages of the site, built and opened in the bundled Chromium: what they do by themselves, what
 * their controls do, and what they say when something is missing. The pages check their own data
 * and write the outcome into data attributes of the root element, which is what is read here.
 */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { BrowserContextOptions, Page } from 'playwright';
import { createServer } from 'vite';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { openSite } from '../../cli/site.ts';
import type { Site } from '../../cli/site.ts';
import { OPENING_MS } from './page-rig.ts';
import { startStaticHost } from './static-host.ts';
import type { StaticHost } from './static-host.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../examples');

describe.skipIf(!bundleRunsHere())('pages in the bundled browser (needs Linux x64)', () => {
  let browser: OpenBrowser;
  let site: Site;
  let page: Page;
  /** Console errors and uncaught exceptions of the page; a test may expect some, even late ones. */
  let problems: string[] = [];
  let expected: RegExp | null = null;

  beforeAll(async () => {
    [browser, site] = await Promise.all([
      openBrowser({ choice: 'bundled', say: () => {} }),
      openSite(),
    ]);
  }, OPENING_MS);

  afterAll(async () => {
    await site.close();
    await browser.close();
  });

  afterEach(async () => {
    await page.close();
    const may = expected;
    expected = null;
    expect(problems.filter((line) => may?.test(line) !== true)).toEqual([]);
  });

  /** A new browser profile with an empty page. */
  async function start(options: BrowserContextOptions = {}): Promise<void> {
    page = await browser.newChromiumPage({ locale: 'en-US', ...options });
    page.setDefaultTimeout(60_000);
    problems = [];
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(error.message));
  }

  async function open(url: string, options: BrowserContextOptions = {}): Promise<void> {
    await start(options);
    await visit(url);
  }

  /** Opens a page and waits until it has done what it does by itself. */
  async function visit(url: string): Promise<void> {
    await page.goto(url);
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

  describe('gallery', () => {
    test('names adapter and isolation, and each of its links leads to a page', async () => {
      await open(site.url);
      expect(await marks()).toMatchObject({ result: 'ok' });
      expect(await text('[data-status=adapter]')).toMatch(/swiftshader software adapter/);
      expect(await text('[data-status=cross-origin-isolated]')).toMatch(/yes$/);
      const links = await page.$$eval('a[href]', (all) =>
        all.map((a) => (a as HTMLAnchorElement).href),
      );
      const answers = await Promise.all(
        [...new Set(links)].map(async (at) => [at, (await fetch(at)).status]),
      );
      expect(answers.filter(([, status]) => status !== 200)).toEqual([]);
      const folders = readdirSync(EXAMPLES).filter((name) => /^\d\d-|^selftests$/.test(name));
      const cards = await page.$$eval('.cards a', (all) => all.map((a) => a.getAttribute('href')));
      expect(new Set(cards)).toEqual(new Set(folders.map((name) => `./${name}/`)));
    });

    test('says what to do where there is no WebGPU', async () => {
      await start();
      await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, 'gpu'));
      await visit(site.url);
      expect(await marks()).toMatchObject({ result: 'wrong' });
      expect(await text('#checks')).toMatch(/no WebGPU[^]*Chrome and Edge[^]*Firefox/);
    });
  });

  describe('first migration', () => {
    test('brings home what the device made of the pages', async () => {
      await open(`${site.url}01-first-migration/`);
      const expected = { result: 'ok', wrongWords: '0', cpages: '64', faults: '64' };
      expect(await marks()).toMatchObject(expected);
      expect(await page.locator('.steps > li').count()).toBe(6);
      const steps = await page.$$eval('.steps > li', (all) => all.map((one) => one.textContent));
      expect(steps[0]).toMatch(/64 none$/);
      expect(steps[1]).toMatch(/64 RAM$/);
      expect(steps[2]).toMatch(/64 device 0$/);
      expect(steps[4]).toMatch(/1 RAM, 63 device 0$/);
      expect(steps[5]).toMatch(/64 RAM$/);
      expect(await text('#counters')).toMatch(/device_private_fault\s+\+64/);
      expect(await text('#counters')).toMatch(/bytesToHost\s+\+256 KiB/);
    });

    test('runs again with one page, on the other device', async () => {
      await open(`${site.url}01-first-migration/?manual`);
      expect(await marks()).not.toHaveProperty('result');
      await page.selectOption('#pages', '1');
      await page.selectOption('#device', '1');
      await press('#again');
      const expected = { result: 'ok', wrongWords: '0', cpages: '1', faults: '1' };
      expect(await marks()).toMatchObject(expected);
      expect(await text('.steps > li:nth-child(3)')).toMatch(/1 device 1$/);
    });

    test('works with each strategy that it offers', async () => {
      await open(`${site.url}01-first-migration/?manual`);
      await page.selectOption('#pages', '16');
      const names = await page.$$eval('#strategy option', (all) =>
        all.map((one) => one.textContent),
      );
      expect(names).toEqual(expect.arrayContaining(['auto', 'commands', 'runs', 'compute']));
      for (const name of names) {
        await page.selectOption('#strategy', name);
        await press('#again');
        expect(await marks(), name).toMatchObject({ result: 'ok', wrongWords: '0', faults: '16' });
      }
    });

    test('runs on the CPU engine, and says that no page reaches a GPU', async () => {
      await open(`${site.url}01-first-migration/?engine=cpu`);
      expect(await marks()).toMatchObject({ result: 'ok', cpages: '64' });
      expect(await text('[data-status=adapter]')).toMatch(/CPU engine: no page reaches a GPU/);
      expect(await text('#steps')).not.toMatch(/WGSL|first line/);
      expect(await text('#steps')).toMatch(/before a migration entry could be seen/);
      expect(await text('#verdict')).toMatch(/No GPU took part\.$/);
    });

    test('on WebGPU it shows the migration entries that it tells of', async () => {
      await open(`${site.url}01-first-migration/`);
      const step = await text('.steps > li:nth-child(3)');
      const told = /stood in for (\d+) of 64 pages/.exec(step)?.[1];
      const shown = /(\d+) migrating/.exec(step)?.[1];
      expect(told).toBe(shown);
      expect(await text('#steps')).toMatch(/WEBHMM_DMIRROR_ADD[^]*A WGSL kernel added/);
      expect(await text('#verdict')).not.toMatch(/No GPU/);
    });

    test("runs with the address's strategy", async () => {
      for (const name of ['runs', 'compute']) {
        await page?.close();
        await open(`${site.url}01-first-migration/?strategy=${name}`);
        expect(await page.inputValue('#strategy')).toBe(name);
        expect(await marks()).toMatchObject({ result: 'ok', faults: '64' });
        const dispatches = Number(/dispatches\s+\+(\d+)/.exec(await text('#counters'))?.[1] ?? 0);
        // One launch is the sum; only compute copies by launches as well.
        if (name === 'compute') expect(dispatches).toBeGreaterThan(1);
        else expect(dispatches).toBe(1);
      }
    });

    test('refuses a strategy that brings nothing home', async () => {
      await open(`${site.url}01-first-migration/?strategy=writeBuffer`);
      expect(await marks()).toMatchObject({ result: 'failed' });
      expect(await text('#trouble')).toMatch(/writeBuffer goes one way[^]*Use one of: auto, comm/);
    });
  });

  describe('fault back', () => {
    test('faults 64 pages home and shows where all pages are', async () => {
      await open(`${site.url}02-fault-back/`);
      expect(await marks()).toMatchObject({ result: 'ok', faults: '64', sigsegv: '1' });
      expect(await marks()).not.toHaveProperty('wrongPages');
      expect(await page.getAttribute('.legend [data-kind=ram]', 'data-count')).toBe('64');
      expect(await page.getAttribute('.legend [data-kind=device0]', 'data-count')).toBe('192');
      expect(await text('#latency > div > .scroll > table')).toMatch(/fault, in order\s+32\s/);
      expect(await text('#log')).toMatch(/SIGSEGV: load from 0x/);
    });

    test('keyboard and table tell and do what the map shows', async () => {
      await open(`${site.url}02-fault-back/?manual`);
      const map = page.locator('#map canvas');
      await map.focus();
      await map.press('ArrowRight');
      await map.press('ArrowDown');
      expect(await map.getAttribute('aria-valuetext')).toBe('page 17, device 0');
      await map.press('Enter');
      await page.waitForSelector('html[data-faults="1"]:not([data-busy])');
      expect(await map.getAttribute('aria-valuetext')).toBe('page 17, RAM');
      await page.click('#map summary');
      await page.waitForSelector('#map tbody tr');
      const rows = await page.$$eval('#map tbody tr', (all) =>
        all.map((row) => (row as HTMLElement).innerText),
      );
      expect(rows.map((row) => row.split(/\s+/).join(' '))).toEqual([
        '0–16 17 device 0',
        '17 1 RAM',
        '18–255 238 device 0',
      ]);
    });

    test('a lost device gives SIGBUS and leaves RAM intact; a new machine works', async () => {
      await open(`${site.url}02-fault-back/`);
      await press('#lose');
      expect(await marks()).toMatchObject({ sigbus: '1', ramIntact: 'true', faults: '64' });
      expect(await text('#log')).toMatch(/SIGBUS: load from 0x/);
      await press('#send');
      expect(await text('#verdict')).toMatch(/^The device is lost/);
      await press('#fresh');
      await press('#next');
      expect(await marks()).toMatchObject({ faults: '65', sigbus: '1', result: 'ok' });
    });
  });

  describe('CPU and GPU', () => {
    test('cores and devices at one array lose nothing', async () => {
      await open(`${site.url}04-cpu-and-gpu/`);
      const { result, adds, faults, taken } = await marks();
      expect(result).toBe('ok');
      for (const count of [adds, faults, taken]) expect(Number(count)).toBeGreaterThan(0);
      expect(await text('#verdict')).toMatch(/^Nothing lost: [\d,]+ additions/);
      expect(await page.locator('#histogram tbody tr').count()).toBeGreaterThan(0);
      expect(await text('#counters')).toMatch(/device_private_fault\s+\+\d/);
    });

    // Cores that never sleep leave little to the page where the machine has other work, too.
    const patience = { timeout: 600_000 };
    test('four cores at full speed run until they are stopped, and again', patience, async () => {
      await open(`${site.url}04-cpu-and-gpu/?manual`);
      page.setDefaultTimeout(250_000);
      await page.check('input[name=cores][value="4"]');
      await page.check('input[name=pace][value="0"]');
      for (const _ of [1, 2]) {
        await page.click('#start');
        await page.waitForFunction(() => Number(document.documentElement.dataset['adds']) > 1000);
        expect(await page.isDisabled('#start')).toBe(true);
        await page.click('#stop');
        await page.waitForSelector('html:not([data-busy])');
        expect(await text('#verdict')).toMatch(/^Nothing lost/);
      }
      expect(await marks()).toMatchObject({ result: 'ok' });
    });
  });

  describe('documents', () => {
    test('are listed, all of them, in the gallery and beside the text', async () => {
      const files = readdirSync(resolve(EXAMPLES, '../docs')).filter((name) =>
        name.endsWith('.md'),
      );
      const names = files.map((name) => name.replace('.md', '')).toSorted();
      for (const [url, list] of [
        [site.url, '#docs a'],
        [`${site.url}docs/`, '#list a'],
      ] as const) {
        await page?.close();
        await open(url);
        const hashes = await page.$$eval(list, (all) =>
          all.map((a) => (a as HTMLAnchorElement).hash.slice(1)),
        );
        expect(hashes).toEqual(['readme', ...names]);
      }
    });

    test('are rendered with their tables, code and links', async () => {
      await open(`${site.url}docs/#architecture`);
      expect(await text('h1')).toBe('Architecture');
      expect(await page.locator('article table').count()).toBeGreaterThan(1);
      expect(await page.locator('article pre').count()).toBeGreaterThan(0);
      expect(await text('article')).not.toMatch(/\*\*|\]\(|^\|/m);
      await page.click('article a[href="#glossary"]');
      await page.waitForFunction(() => document.querySelector('h1')?.textContent === 'Glossary');
      expect(await text('main nav a[aria-current=page]')).toBe('Glossary');
    });
  });

  describe('shell', () => {
    test('the theme follows the system until one is chosen, which is remembered', async () => {
      await open(`${site.url}docs/`, { colorScheme: 'dark' });
      const background = (): Promise<string> =>
        page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
      const dark = await background();
      await page.click('#theme');
      const light = await background();
      expect(light).not.toBe(dark);
      await visit(`${site.url}docs/`);
      expect(await background()).toBe(light);
      await page.click('#theme');
      expect(await background()).toBe(dark);
    });

    test('an address that asks for the impossible is explained, with a way out', async () => {
      await open(`${site.url}01-first-migration/?strategy=teleport`);
      expect(await marks()).toMatchObject({ result: 'failed', ready: 'true' });
      const banner = await text('#trouble[role=alert]');
      expect(banner).toMatch(/no strategy teleport\.[^]*Use one of: auto, .*, compute\./);
      expect(banner).not.toMatch(/cpu|writeBuffer/);
      expect(await page.textContent('#verdict')).toMatch(/^Stopped/);
      expect(await page.isVisible('#again')).toBe(false);
      await page.click('#trouble button');
      await page.waitForSelector('html[data-ready=true][data-result=ok]');
      expect(await page.evaluate(() => location.search)).toBe('');
    });

    test('in a narrow window the current link is whole, and none is cut on the left', async () => {
      for (const folder of ['', '01-first-migration/', '02-fault-back/', 'docs/']) {
        await page?.close();
        const viewport = { width: 390, height: 844 };
        await open(`${site.url}${folder}`, { viewport, reducedMotion: 'reduce' });
        const row = await page.$eval('.bar nav', async (nav) => {
          // That it has been scrolled is said with the next frame, its size after that.
          for (let i = 0; i < 2; i++) await new Promise((done) => requestAnimationFrame(done));
          const box = nav.getBoundingClientRect();
          const mark = Number.parseFloat(getComputedStyle(nav, '::after').width) || 0;
          const links = [...nav.querySelectorAll('a')].map((a) => {
            const { left, right } = a.getBoundingClientRect();
            const isCut = left < box.left - 1 && right > box.left + 1;
            const isWhole = left >= box.left - 1 && right <= box.right - mark + 1;
            return { isCut, isWhole, isCurrent: a.hasAttribute('aria-current') };
          });
          return { links, scrolled: nav.scrollLeft, more: nav.dataset['more'] };
        });
        expect(row.links.find(({ isCurrent }) => isCurrent)?.isWhole, folder).toBe(true);
        expect(row.links.filter(({ isCut }) => isCut)).toEqual([]);
        expect(row.more?.includes('before'), folder).toBe(row.scrolled > 1);
        expect(row.more?.includes('after'), folder).toBe(folder !== 'docs/');
        if (folder === '') expect(row.scrolled).toBe(0);
      }
    });

    test('only the first error is shown', async () => {
      await open(`${site.url}docs/`);
      await page.evaluate(() => {
        setTimeout(() => {
          throw new Error('the first');
        });
        void Promise.reject(new Error('its echo'));
      });
      await page.waitForSelector('#trouble');
      const banners = await page.$$eval('#trouble', (all) => all.map((one) => one.textContent));
      expect(banners).toHaveLength(1);
      await expect.poll(() => problems.toSorted()).toEqual(['its echo', 'the first']);
      expected = /its echo|the first/;
    });
  });

  describe('addresses', () => {
    async function answers(base: string): Promise<(string | number)[][]> {
      const paths = ['01-first-migration?a=b', 'docs', 'docs/', 'nope', 'nope/', 'docsx', ''];
      return Promise.all(
        paths.map(async (path) => {
          const { status, headers } = await fetch(`${base}${path}`, {
            headers: { accept: 'text/html' },
            redirect: 'manual',
          });
          return [path, status, headers.get('location') ?? ''];
        }),
      );
    }

    const expected = [
      ['01-first-migration?a=b', 302, './01-first-migration/?a=b'],
      ['docs', 302, './docs/'],
      ['docs/', 200, ''],
      ['nope', 404, ''],
      ['nope/', 404, ''],
      ['docsx', 404, ''],
      ['', 200, ''],
    ];

    test('in preview: a folder gets its slash, what is not there is 404', async () => {
      await start();
      expect(await answers(site.url)).toEqual(expected);
    });

    test('in the development server as well', async () => {
      await start();
      const cacheDir = `${site.folder}.dev`;
      const server = await createServer({
        configFile: resolve(EXAMPLES, '../vite.config.ts'),
        cacheDir,
        logLevel: 'error',
        server: { host: '127.0.0.1', port: 0, open: false, watch: null },
      });
      try {
        await server.listen();
        expect(await answers(server.resolvedUrls?.local[0] ?? '')).toEqual(expected);
      } finally {
        await server.close();
        await rm(cacheDir, { recursive: true, force: true });
      }
    });
  });

  describe('on a host that sends no isolation headers', () => {
    let host: StaticHost;

    afterEach(() => host.close());

    const isolated = (): Promise<boolean> => page.evaluate(() => crossOriginIsolated);

    for (const path of ['/', '/webhmm/']) {
      test(`below ${path}, a service worker adds them after one reload`, async () => {
        host = await startStaticHost(site.folder, path);
        await open(`${host.url}01-first-migration/`);
        expect(await isolated()).toBe(true);
        expect(await marks()).toMatchObject({ result: 'ok', wrongWords: '0', faults: '64' });
        expect(host.requests.get('01-first-migration/')).toBe(2);
        // From now on pages are isolated at once.
        await visit(`${host.url}02-fault-back/`);
        expect(await marks()).toMatchObject({ result: 'ok', faults: '64' });
        expect(host.requests.get('02-fault-back/')).toBe(1);
      });
    }

    test('a service worker that is not there is named, without a reload', async () => {
      host = await startStaticHost(site.folder, '/', { 'isolation-sw.js': null });
      await open(`${host.url}01-first-migration/`);
      expect(await isolated()).toBe(false);
      expect(await marks()).toMatchObject({ result: 'failed' });
      expect(await text('#trouble')).toMatch(/service worker[^]*could not start[^]*require-corp/);
      expect(host.requests.get('01-first-migration/')).toBe(1);
      expected = /404|isolation-sw/;
    });

    test('a service worker that does not help is tried once, and again when asked', async () => {
      const idle = `addEventListener('install', () => void skipWaiting());`;
      host = await startStaticHost(site.folder, '/', { 'isolation-sw.js': idle });
      await open(`${host.url}docs/`);
      await page.waitForSelector('#trouble');
      expect(await isolated()).toBe(false);
      expect(host.requests.get('docs/')).toBe(2);
      expect(await text('#trouble')).toMatch(/did not help/);
      await page.click('#trouble button');
      await expect.poll(() => host.requests.get('docs/')).toBe(4);
      await page.waitForSelector('#trouble');
      expect(host.requests.get('docs/')).toBe(4);
    });
  });
});
