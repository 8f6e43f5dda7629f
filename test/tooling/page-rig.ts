/*
 * Opens pages of the built site in the bundled Chromium, for tests that press their buttons. What
 * a page logs as an error fails its test, unless the test expects it.
 */
import type { BrowserContextOptions, Page } from 'playwright';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { openSite } from '../../cli/site.ts';
import type { Site } from '../../cli/site.ts';

/** For one step of a page on a machine that is busy. */
const PATIENCE_MS = 60_000;
/** For the browser and the site, which several test files may build at the same time. */
export const OPENING_MS = 400_000;

export class PageRig {
  /** Console errors and uncaught exceptions of the page. */
  problems: string[] = [];
  /** What the running test brings about of these; they may come late. */
  expected: RegExp | null = null;
  private browser: OpenBrowser | undefined;
  private site: Site | undefined;
  private shown: Page | undefined;

  /** Registers what has to be done around the tests of the running describe(). */
  constructor() {
    beforeAll(async () => {
      const browser = openBrowser({ choice: 'bundled', say: () => {} });
      [this.browser, this.site] = await Promise.all([browser, openSite()]);
    }, OPENING_MS);
    afterAll(async () => {
      await this.site?.close();
      await this.browser?.close();
    });
    afterEach(async () => {
      await this.shown?.close();
      const { expected } = this;
      this.expected = null;
      expect(this.problems.filter((line) => expected?.test(line) !== true)).toEqual([]);
    });
  }

  /** The page that was opened last. */
  get page(): Page {
    if (this.shown === undefined) throw new Error('no page is open');
    return this.shown;
  }

  /** Opens a page of the site and waits until it has done what it does by itself. */
  async open(path: string, options: BrowserContextOptions = {}): Promise<void> {
    await this.shown?.close();
    const page = await this.browser!.newChromiumPage({ locale: 'en-US', ...options });
    this.shown = page;
    page.setDefaultTimeout(PATIENCE_MS);
    this.problems = [];
    page.on('console', (message) => {
      if (message.type() === 'error') this.problems.push(message.text());
    });
    page.on('pageerror', (error) => this.problems.push(error.message));
    await page.goto(`${this.site!.url}${path}`);
    await page.waitForSelector('html[data-ready=true]:not([data-busy])');
  }

  /** The data attributes of the root element. */
  marks(): Promise<Record<string, string | undefined>> {
    return this.page.evaluate(() =>
      Object.fromEntries(Object.entries(document.documentElement.dataset)),
    );
  }

  /** Presses a button and waits until what it does is over. */
  async press(selector: string): Promise<void> {
    await this.page.click(selector);
    await this.page.waitForSelector('html:not([data-busy])');
  }

  /** The text that is shown of an element. */
  text(selector: string): Promise<string> {
    return this.page.innerText(selector);
  }

  /** The text of the file that pressing a button gives. */
  async download(selector: string): Promise<string> {
    const [file] = await Promise.all([
      this.page.waitForEvent('download'),
      this.page.click(selector),
    ]);
    const chunks: Buffer[] = [];
    for await (const chunk of await file.createReadStream()) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  }

  /** Gives a file to a file input. */
  give(selector: string, name: string, body: string): Promise<void> {
    const file = { name, mimeType: 'text/plain', buffer: Buffer.from(body) };
    return this.page.setInputFiles(selector, file);
  }

  /** Controls and pictures that nobody who can't see them can tell what they are. */
  controlsWithoutName(): Promise<string[]> {
    const kinds = 'button, input:not([type=hidden]), select, textarea, canvas, progress';
    return this.page.$$eval(kinds, (all) => {
      const nameless = all.filter((one) => {
        // A file input lies invisible on its label.
        if (!one.checkVisibility() && one.getAttribute('type') !== 'file') return false;
        const by = one.getAttribute('aria-labelledby') ?? '';
        const labels = [...((one as HTMLInputElement).labels ?? [])];
        const names = [
          one.getAttribute('aria-label'),
          by === '' ? '' : document.getElementById(by)?.textContent,
          ...labels.map((label) => label.textContent),
          one.textContent,
          // The canvas of a plot is in a figure with a name.
          one.closest('figure')?.getAttribute('aria-label'),
        ];
        return names.every((name) => (name ?? '').trim() === '');
      });
      return nameless.map((one) => one.outerHTML);
    });
  }

  /** The parameters of the page's address, asked of the page: `page.url()` lags behind it. */
  async query(): Promise<URLSearchParams> {
    return new URL(await this.page.evaluate(() => location.href)).searchParams;
  }
}
