/*
 * What the commands need of a page, whichever driver its browser has.
 *
 * Chromium is driven by Playwright, whose Page fits this interface as it is. Stock Firefox needs
 * another driver (see browser-firefox.ts), which is put behind it.
 */

/** A page in a browser. A subset of Playwright's Page, with the same meanings. */
export interface BrowserPage {
  goto(url: string, options?: { timeout?: number }): Promise<unknown>;
  evaluate<R>(fn: () => R | Promise<R>): Promise<R>;
  evaluate<A, R>(fn: (argument: A) => R | Promise<R>, argument: A): Promise<R>;
  /** Waits until `fn`, called in the page, gives something true. */
  waitForFunction(
    fn: () => unknown,
    argument: undefined,
    options: { timeout: number },
  ): Promise<unknown>;
  /** Makes a function of ours callable in the page, as a property of its window. */
  exposeFunction(name: string, fn: (value: never) => unknown): Promise<unknown>;
  close(): Promise<void>;
}

/** Waits on a page that end when the page can't answer any more. */
export interface PageGuard {
  /**
   * Gives the promise's own result, or a rejection as soon as the page has an uncaught error,
   * crashes or is closed, or its browser goes away.
   */
  race<T>(promise: Promise<T>): Promise<T>;
}

const guards = new WeakMap<BrowserPage, PageGuard>();

/** The guard of a page that openBrowser()'s browser has made. */
export function watchPage(page: BrowserPage): PageGuard {
  const guard = guards.get(page);
  if (guard === undefined) {
    throw new Error('this page was not made by openBrowser()');
  }
  return guard;
}

/**
 * Gives a new page its guard.
 *
 * @returns to be called with the first trouble of the page; later ones change nothing
 */
export function guardPage(page: BrowserPage): (trouble: Error) => void {
  let fail: (trouble: Error) => void = () => {};
  const trouble = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Without a wait in progress the rejection is kept for the next one.
  trouble.catch(() => {});
  guards.set(page, { race: (promise) => Promise.race([promise, trouble]) });
  return fail;
}

/** Words for an uncaught error of a page. */
export function pageError(error: unknown): Error {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new Error(`the page threw: ${text}`);
}
