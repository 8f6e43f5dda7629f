/*
 * Cross-origin isolation, which shared memory needs, on hosts that don't send its headers:
 * registers public/isolation-sw.js and reloads the page once, so that the worker can add them.
 *
 * Never reloads twice. A mark in sessionStorage is set before the reload and cleared only by a page
 * that is isolated; a page that finds the mark gives up with the reason. Where the mark can't
 * be kept there is no reload at all.
 */

const MARK = 'webhmm-isolation-reload';

/** How it ended: shared memory is there, a reload is under way, or why there is none. */
export type Isolation =
  | { readonly state: 'isolated' | 'reloading' }
  | { readonly state: 'failed'; readonly reason: string; readonly remedy: string };

/**
 * Makes sure that the page is isolated.
 *
 * @param siteRoot URL of the folder that the service worker is served from, its scope
 * @returns 'reloading' when the page is about to go away: the caller should start nothing
 */
export async function ensureIsolation(siteRoot: URL): Promise<Isolation> {
  if (crossOriginIsolated) {
    writeMark(false);
    return { state: 'isolated' };
  }
  if (!isSecureContext) {
    return failed(
      'This page came over plain HTTP, where browsers give neither shared memory nor WebGPU.',
      'Serve it over HTTPS, or open it from localhost.',
    );
  }
  // Some privacy settings leave the property out, which its type does not know.
  if (!('serviceWorker' in navigator)) {
    return failed(
      'The host sends no isolation headers, and this browser allows no service worker to add them.',
      'Leave private browsing, or serve the site with COOP same-origin and COEP require-corp.',
    );
  }
  if (readMark()) {
    return failed(
      'The host sends no isolation headers, and a service worker that adds them did not help.',
      'Serve the site with COOP same-origin and COEP require-corp, or try again.',
    );
  }
  try {
    await activate(siteRoot);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return failed(
      `The service worker that adds isolation headers could not start: ${detail}`,
      'Serve the site with COOP same-origin and COEP require-corp.',
    );
  }
  if (!writeMark(true)) {
    return failed(
      'This browser keeps no session data, so a reload could not be guarded against repeating.',
      'Allow site data for this page and reload it yourself.',
    );
  }
  location.reload();
  return { state: 'reloading' };
}

/** Forgets that a reload was tried, and tries again. */
export function retryIsolation(): void {
  writeMark(false);
  location.reload();
}

async function activate(siteRoot: URL): Promise<void> {
  const script = new URL('isolation-sw.js', siteRoot);
  const registration = await navigator.serviceWorker.register(script);
  const worker = registration.active ?? registration.waiting ?? registration.installing;
  if (worker === null || worker.state === 'activated') return;
  await new Promise<void>((done, fail) => {
    worker.addEventListener('statechange', () => {
      if (worker.state === 'activated') done();
      if (worker.state === 'redundant') fail(new Error('it was replaced while starting'));
    });
  });
}

function failed(reason: string, remedy: string): Isolation {
  return { state: 'failed', reason, remedy };
}

function readMark(): boolean {
  try {
    return sessionStorage.getItem(MARK) !== null;
  } catch {
    return false;
  }
}

function writeMark(set: boolean): boolean {
  try {
    if (set) sessionStorage.setItem(MARK, '1');
    else sessionStorage.removeItem(MARK);
    return true;
  } catch {
    return false;
  }
}
