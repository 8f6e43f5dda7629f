/*
 * The checks of `npm run shots` see what they are there to see, and nothing else.
 */
import type { Page } from 'playwright';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openBrowser } from '../../cli/browser.ts';
import type { OpenBrowser } from '../../cli/browser.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { findLowContrast, findOverflow } from '../../cli/page-checks.ts';

describe.skipIf(!bundleRunsHere())('a page in the bundled browser (needs Linux x64)', () => {
  let browser: OpenBrowser;
  let page: Page;

  beforeAll(async () => {
    browser = await openBrowser({ choice: 'bundled', say: () => {} });
  }, 120_000);

  afterAll(() => browser.close());

  beforeEach(async () => {
    page = await browser.newChromiumPage({ viewport: { width: 390, height: 800 } });
  });

  afterEach(() => page.close());

  const show = (body: string): Promise<void> =>
    page.setContent(`<!doctype html><html><body style="margin:0">${body}</body></html>`);

  test('as wide as its window is right, a pixel more is not, with the element named', async () => {
    await show('<div id="wide" style="width:390px;height:9px"></div>');
    expect(await findOverflow(page)).toBeUndefined();
    await show('<div id="wide" style="width:391px;height:9px"></div>');
    expect(await findOverflow(page)).toBe(
      'page is 391 px wide in a window of 390 px (<div #wide> ends at 391)',
    );
  });

  test('what scrolls in its own box does not count', async () => {
    await show('<div style="overflow-x:auto"><div style="width:900px;height:9px"></div></div>');
    expect(await findOverflow(page)).toBeUndefined();
  });

  test.each([
    ['grey on white', '<p style="color:#777">grey</p>', 1],
    ['a darker grey on white', '<p style="color:#767676">grey</p>', 0],
    ['the same grey in large text', '<p style="color:#777;font-size:24px">grey</p>', 0],
    [
      'white on dark of an ancestor',
      '<div style="background:#222"><p style="color:#fff">a</p></div>',
      0,
    ],
    ['white on nothing', '<p style="color:#fff">a</p>', 1],
    ['half transparent text', '<p style="opacity:.4">a</p>', 1],
    ['another notation', '<p style="color:oklch(0.9 0 0)">a</p>', 1],
    ['the worst end of a gradient', '<p style="background:linear-gradient(#fff,#000)">a</p>', 1],
    ['the text of a field', '<input style="color:#999;background:#fff" value="a">', 1],
    ['hidden text', '<p style="color:#fff;visibility:hidden">a</p><p hidden>b</p>', 0],
    ['a disabled control', '<button disabled style="color:#ccc">a</button>', 0],
    ['a dark page', '<style>:root{color-scheme:dark}</style><p>a</p>', 0],
  ])('contrast of %s', async (_, body, complaints) => {
    await show(body);
    expect(await findLowContrast(page)).toHaveLength(complaints);
  });
});
