/*
 * The place where a page says that something went wrong: the first error only, as what follows is
 * usually its echo, with the cause in one sentence and what to do in another.
 */
import { errno, ErrnoError, OpenError, SignalError } from '../../src/index.ts';
import { AddressError } from './address.ts';
import { el } from './dom.ts';

/** What the banner shows. */
export interface Trouble {
  readonly title: string;
  readonly cause: string;
  readonly remedy: string;
  /** Something to press, besides reloading. */
  readonly action?: { readonly label: string; readonly run: () => void };
}

const DEFAULTS = { label: 'Use the defaults', run: () => location.assign(location.pathname) };
let shown = false;

/** Shows `trouble` above the page's content, unless an earlier one is there already. */
export function showTrouble(trouble: Trouble): void {
  document.documentElement.dataset['result'] = 'failed';
  resetVerdict();
  if (shown) return;
  shown = true;
  const banner = el(
    'section',
    { class: 'banner', role: 'alert', id: 'trouble' },
    el('h2', {}, trouble.title),
    el('p', {}, trouble.cause),
    el('p', { class: 'remedy' }, trouble.remedy),
  );
  const { action } = trouble;
  if (action !== undefined) {
    const button = el('button', { type: 'button' }, action.label);
    button.addEventListener('click', action.run);
    banner.append(button);
  }
  document.querySelector('main')?.before(banner);
}

/** Says which parts of the address were left out. The page goes on without them. */
export function showLeftOut(problems: readonly AddressError[]): void {
  const lines = problems.map(({ message, remedy }) => el('li', {}, `${message} ${remedy}`));
  const shownAlready = document.querySelector('#left-out ul');
  if (shownAlready !== null) return shownAlready.append(...lines);
  const button = el('button', { type: 'button' }, 'Close');
  const banner = el(
    'section',
    { class: 'banner', role: 'alert', id: 'left-out' },
    el('h2', {}, 'Parts of the address were left out'),
    el('ul', {}, ...lines),
    el('p', { class: 'remedy' }, 'Those settings have their defaults, and nothing has been run.'),
    button,
  );
  button.addEventListener('click', () => banner.remove());
  document.querySelector('main')?.before(banner);
}

/** What the page was about to find out it won't: "Opening…" must not stay below the banner. */
function resetVerdict(): void {
  const verdict = document.querySelector('.verdict');
  if (verdict !== null) verdict.textContent = 'Stopped: the message above says why.';
  verdict?.classList.remove('good', 'warn');
}

/** Shows any thrown value. */
export function showError(error: unknown): void {
  showTrouble(explain(error));
}

/** Turns a thrown value into words. */
export function explain(error: unknown): Trouble {
  if (error instanceof AddressError) {
    return {
      title: "This page can't do what its address asks for",
      cause: error.message,
      remedy: error.remedy,
      action: DEFAULTS,
    };
  }
  if (error instanceof OpenError) {
    return {
      title: 'The machine could not be opened',
      cause: sentence(error.reason),
      remedy: sentence(error.remedy),
      action: wayOut(error),
    };
  }
  if (error instanceof ErrnoError) {
    return {
      title: `${error.syscall} failed with ${error.code}`,
      cause: 'The emulated kernel refused a call that this page expected to work.',
      remedy: 'Reload the page. If it happens again it is a bug; the call and its errno are above.',
    };
  }
  if (error instanceof SignalError) {
    return {
      title: error.message,
      cause: 'An access of this page ended with a signal that it did not expect.',
      remedy: 'Reload the page. If it happens again it is a bug.',
    };
  }
  return {
    title: 'Something went wrong',
    cause: error instanceof Error ? sentence(error.message) : String(error),
    remedy: 'Reload the page. If it happens again it is a bug; the console has the details.',
  };
}

/** Catches what nobody else did. */
export function watchForErrors(): void {
  addEventListener('error', (event) => showError(event.error ?? event.message));
  addEventListener('unhandledrejection', (event) => showError(event.reason));
}

/** Bad options came with the address; a missing adapter can be done without. */
function wayOut(error: OpenError): { readonly label: string; readonly run: () => void } {
  if (error.errno === errno.EINVAL) return DEFAULTS;
  const url = new URL(location.href);
  url.searchParams.set('engine', 'cpu');
  return { label: 'Use the CPU engine instead', run: () => location.assign(url) };
}

function sentence(text: string): string {
  const start = text.slice(0, 1).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
