/*
 * Stock Firefox, driven over WebDriver BiDi.
 *
 * Playwright only drives a Firefox of its own making (its BiDi mode asks for a command that release
 * 153 does not know), so this one is driven by Puppeteer. Firefox is a second, independent WebGPU,
 * in which the benchmark and the selftests can run; screenshots need Chromium.
 */
import type { Browser, Page } from 'puppeteer-core';
import { guardPage, pageError } from './browser-page.ts';
import type { BrowserPage } from './browser-page.ts';
import { environmentWith } from './chromium-bundle.ts';

/** WebGPU is off by default on Linux, and refused to drivers that are not listed. */
const PREFERENCES = {
  'dom.webgpu.enabled': true,
  'dom.webgpu.workers.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
  'gfx.webgpu.force-enabled': true,
  'intl.accept_languages': 'en-US',
};

export interface FirefoxBrowser {
  version(): string;
  newPage(): Promise<BrowserPage>;
  close(): Promise<void>;
}

/** Starts Firefox without a window. `folder` is for its temporary files. */
export async function launchFirefox(
  executablePath: string,
  timeoutMs: number,
  folder: string,
): Promise<FirefoxBrowser> {
  const { launch } = await import('puppeteer-core');
  const browser = await launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    timeout: timeoutMs,
    protocolTimeout: 0,
    env: environmentWith({ TMPDIR: folder }),
    extraPrefsFirefox: PREFERENCES,
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
  const version = (await browser.version()).replace(/^firefox\//i, '');
  return {
    version: () => version,
    newPage: async () => wrap(browser, await browser.newPage()),
    close: () => browser.close(),
  };
}

function wrap(browser: Browser, page: Page): BrowserPage {
  const wrapped: BrowserPage = {
    goto: (url, options) => page.goto(url, options),
    evaluate: <A, R>(fn: (argument: A) => R | Promise<R>, argument?: A): Promise<R> =>
      page.evaluate(fn as (argument: unknown) => R | Promise<R>, argument),
    waitForFunction: (fn, argument, options) => page.waitForFunction(fn, options, argument),
    exposeFunction: (name, fn) => page.exposeFunction(name, fn),
    close: () => page.close(),
  };
  const fail = guardPage(wrapped);
  page.on('pageerror', (error) => fail(pageError(error)));
  page.on('error', () => fail(new Error('the page crashed')));
  page.on('close', () => fail(new Error('the page was closed')));
  browser.on('disconnected', () => fail(new Error('the browser went away')));
  return wrapped;
}
