/*
 * `npm run shots`: a screenshot of each page at two widths, light and dark, and checks on what it
 * shows.
 *
 * The site is built and served as a user would get it, and opened in the bundled Chromium, whose
 * fonts come with it, so that pictures look the same everywhere. A page says that it is ready to be
 * looked at with data-ready="true" on its root element. Checked for each picture: it becomes ready
 * in time, it is not wider than its window, its text has enough contrast, nothing was logged as an
 * error or thrown.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { BrowserContextOptions, Page } from 'playwright';
import { readCommandLine, UsageError } from './args.ts';
import { watchPage } from './browser-page.ts';
import { openBrowser, refuseBrowser } from './browser.ts';
import type { OpenBrowser } from './browser.ts';
import { runCommand } from './cleanup.ts';
import { findLowContrast, findOverflow } from './page-checks.ts';
import { startProgress } from './progress.ts';
import { openSite } from './site.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** Plots redraw after a resize observer has run; a tenth of a second is enough. */
const SETTLE_MS = 150;
const SIZES = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];
const THEMES = ['light', 'dark'] as const;
/** What a page is opened with, where it does by itself too much for a picture, or too little. */
const QUERIES: Readonly<Record<string, string>> = {
  '03-copy-bench': '?auto&engine=cpu&suite=copy,migrate,fault,mm&goal=none',
  '05-fault-lab': '?kernel=stencil&mover=uvm',
  selftests: '?filter=anon_read|migrate_mixed|huge_fault|exclusive',
};
/** More complaints of one kind about one picture say nothing new. */
const COMPLAINTS_SHOWN = 5;

interface Shot {
  /** The folder under examples/, or `index` for the gallery. */
  readonly page: string;
  readonly width: number;
  readonly height: number;
  readonly theme: (typeof THEMES)[number];
}

interface ShotResult extends Shot {
  readonly readyMs: number;
  readonly file: string;
  readonly problems: readonly string[];
}

export function main(): Promise<never> {
  const { values } = readCommandLine({
    name: 'shots',
    summary:
      'Screenshots of every page of the site at 1280 and 390 px, light and dark, with checks:\n' +
      'no horizontal overflow, text contrast, no console error. Pictures go to shots/.',
    options: {
      page: { kind: 'text', placeholder: 'NAME', help: 'only this page (a folder of examples/)' },
      out: { kind: 'text', placeholder: 'FOLDER', help: 'where pictures go (default: shots)' },
      timeout: {
        kind: 'number',
        placeholder: 'S',
        min: 1,
        max: 600,
        help: 'how long a page may take to become ready, in seconds (default: 30)',
      },
      browser: {
        kind: 'text',
        placeholder: 'B',
        help: 'bundled (default), auto, chrome, or the path of one',
        refuse: refuseBrowser,
      },
    },
  });
  return runCommand('shots', async () => {
    const say = (line: string): void => void process.stderr.write(`${line}\n`);
    const out = resolve(values.out ?? join(ROOT, 'shots'));
    const pages = choosePages(values.page);
    mkdirSync(out, { recursive: true });
    const site = await openSite();
    const browser = await openBrowser({ choice: values.browser ?? 'bundled', say });
    const shots = pages.flatMap((page) =>
      SIZES.flatMap((size) => THEMES.map((theme): Shot => ({ page, theme, ...size }))),
    );
    const results: ShotResult[] = [];
    const progress = startProgress('shots');
    for (const shot of shots) {
      progress.update(shotName(shot), results.length, shots.length);
      const timeoutMs = (values.timeout ?? 30) * 1000;
      results.push(await takeShot(browser, site.url, shot, out, timeoutMs));
    }
    progress.end();
    return report(results);
  });
}

/** The pages of the site; the same rule as in vite.config.ts. */
function choosePages(only: string | undefined): string[] {
  const folder = join(ROOT, 'examples');
  const names = existsSync(folder) ? readdirSync(folder).toSorted() : [];
  const found = names.filter((name) => existsSync(join(folder, name, 'index.html')));
  const pages = existsSync(join(folder, 'index.html')) ? ['index', ...found] : found;
  if (only === undefined && pages.length > 0) {
    return pages;
  }
  if (only !== undefined && pages.includes(only)) {
    return [only];
  }
  throw new UsageError(
    only === undefined
      ? 'there are no pages: examples/ has no index.html'
      : `--page takes ${pages.join(', ')}, not '${only}'`,
  );
}

async function takeShot(
  browser: OpenBrowser,
  siteUrl: string,
  shot: Shot,
  out: string,
  timeoutMs: number,
): Promise<ShotResult> {
  const context: BrowserContextOptions = {
    viewport: { width: shot.width, height: shot.height },
    colorScheme: shot.theme,
    locale: 'en-US',
    reducedMotion: 'reduce',
  };
  const page = await browser.newChromiumPage(context);
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') {
      problems.push(`console error: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  const file = join(out, `${shotName(shot)}.png`);
  const start = performance.now();
  let readyMs = Number.NaN;
  try {
    const url = `${pageUrl(siteUrl, shot.page)}${QUERIES[shot.page] ?? ''}`;
    await watchPage(page).race(waitUntilReady(page, url, timeoutMs));
    readyMs = performance.now() - start;
    await delay(SETTLE_MS);
    problems.push(...(await check(page)));
  } catch (error) {
    problems.push(`not ready: ${error instanceof Error ? error.message : String(error)}`);
  }
  // A picture of a page that failed is what its author wants to see first.
  await page.screenshot({ path: file, fullPage: true }).catch(() => {});
  await page.close();
  return { ...shot, readyMs, file, problems };
}

async function waitUntilReady(page: Page, url: string, timeoutMs: number): Promise<void> {
  await page.goto(url, { timeout: timeoutMs });
  await page
    .waitForFunction(() => document.documentElement.dataset['ready'] === 'true', undefined, {
      timeout: timeoutMs,
    })
    .catch((cause: unknown) => {
      const seconds = timeoutMs / 1000;
      throw new Error(`no data-ready="true" on the root element after ${seconds} s`, { cause });
    });
}

async function check(page: Page): Promise<string[]> {
  const overflow = await findOverflow(page);
  const contrast = await findLowContrast(page);
  const hidden = contrast.length - COMPLAINTS_SHOWN;
  const more = hidden > 0 ? [`and ${hidden} more texts with too little contrast`] : [];
  return [
    ...(overflow === undefined ? [] : [overflow]),
    ...contrast.slice(0, COMPLAINTS_SHOWN),
    ...more,
  ];
}

function report(results: readonly ShotResult[]): number {
  const width = Math.max(...results.map((result) => result.page.length), 4);
  const lines = [`${'page'.padEnd(width)}  width  theme  ready ms  result`];
  for (const result of results) {
    const ready = Number.isNaN(result.readyMs) ? '-' : result.readyMs.toFixed(0);
    const verdict = result.problems.length === 0 ? 'ok' : 'FAIL';
    const cells = [
      result.page.padEnd(width),
      String(result.width).padStart(5),
      result.theme.padEnd(5),
      ready.padStart(8),
      verdict,
    ];
    lines.push(cells.join('  '), ...result.problems.map((problem) => `    ${problem}`));
  }
  const failed = results.filter((result) => result.problems.length > 0).length;
  lines.push(`${results.length - failed} passed, ${failed} failed`);
  process.stdout.write(`${lines.join('\n')}\n`);
  return failed === 0 ? 0 : 1;
}

function shotName(shot: Shot): string {
  return `${shot.page}-${shot.width}-${shot.theme}`;
}

function pageUrl(siteUrl: string, page: string): string {
  return page === 'index' ? siteUrl : `${siteUrl}${page}/`;
}
