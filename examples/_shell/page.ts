/*
 * What all pages share: header, status strip, error banner, isolation, and the order of events. A
 * page calls runPage() with its own part, which starts once the page is isolated.
 *
 * Marks on the root element, for tests and for screenshots:
 *   data-ready="true"    the automatic run is over, or there will be none
 *   data-busy            an action is running
 *   data-stopped         the page could not start; its banner says why
 *   data-result          what the page found: "ok", "wrong" or "failed"
 */
import type { MachineOptions } from '../../src/index.ts';
import { optionsFrom } from './address.ts';
import { showError, showLeftOut, showTrouble, watchForErrors } from './banner.ts';
import { byId, byIdAs, el } from './dom.ts';
import { ensureIsolation, retryIsolation } from './isolation.ts';
import { followScroll, showCurrent } from './nav-row.ts';
import { leniently } from './settings.ts';
import type { Fields, Settings } from './settings.ts';
import { StatusStrip } from './status.ts';
import { themeButton } from './theme.ts';

/** What a page gets from the shell. */
export interface Page {
  readonly status: StatusStrip;
  /** False when the address asks to run nothing by itself (`?manual`), or for what can't be. */
  readonly isAutomatic: boolean;
  /** Parameters of the address. */
  readonly query: URLSearchParams;
  /** What the address says of these; what can't be is shown, and has its default. */
  settings<F extends Fields>(fields: F): Settings<F>;
  /**
   * Adds the address's choices (`?engine=cpu`, `?strategy=runs`) to a page's own options. Throws
   * for choices that can't carry pages.
   */
  options(own: MachineOptions): MachineOptions;
  /** Makes the button with that id run `body`, one action at a time. */
  action(id: string, body: () => Promise<void>): void;
  /** Runs `body` as an action, as if a button had been pressed. */
  run(body: () => Promise<void>): Promise<void>;
  /** Says what the page found. A bad result stays, whatever comes after it. */
  result(found: 'ok' | 'wrong'): void;
}

const root = document.documentElement;
const actions = new Set<HTMLButtonElement>();

/** Builds the frame of the page and runs `body` in it. Errors of `body` go to the banner. */
export async function runPage(body: (page: Page) => Promise<void>): Promise<void> {
  const siteRoot = new URL(root.dataset['root'] ?? './', location.href);
  watchForErrors();
  const status = new StatusStrip();
  byId('shell').append(header(siteRoot), status.element);
  showCurrent();
  try {
    const isolation = await ensureIsolation(siteRoot);
    if (isolation.state === 'reloading') return;
    if (isolation.state === 'failed') {
      showTrouble({
        title: 'No shared memory on this page',
        cause: isolation.reason,
        remedy: isolation.remedy,
        action: { label: 'Try again', run: retryIsolation },
      });
    }
    // Pages without a machine have something to say even then.
    if (isolation.state === 'isolated' || 'worksBare' in root.dataset) await body(makePage(status));
    else root.dataset['stopped'] = '';
  } catch (error) {
    root.dataset['stopped'] = '';
    showError(error);
  }
  root.dataset['ready'] = 'true';
}

function makePage(status: StatusStrip): Page {
  const query = new URLSearchParams(location.search);
  let isAutomatic = !query.has('manual');
  return {
    status,
    query,
    get isAutomatic() {
      return isAutomatic;
    },
    settings: (fields) => {
      const { settings, problems } = leniently(fields, query);
      if (problems.length > 0) {
        isAutomatic = false;
        showLeftOut(problems);
      }
      return settings;
    },
    options: (own) => ({ ...own, ...optionsFrom(query) }),
    action: (id, body) => {
      const button = byIdAs(id, HTMLButtonElement);
      actions.add(button);
      button.addEventListener('click', () => void runAction(body));
    },
    run: runAction,
    result: (found) => {
      root.dataset['result'] ??= found;
      if (found === 'wrong' && root.dataset['result'] === 'ok') root.dataset['result'] = found;
    },
  };
}

/** Runs one action with all buttons off, so that no two get in each other's way. */
async function runAction(body: () => Promise<void>): Promise<void> {
  if ('busy' in root.dataset) return;
  const focused = document.activeElement;
  const enabled = [...actions].filter((button) => !button.disabled);
  for (const button of enabled) button.disabled = true;
  root.dataset['busy'] = '';
  try {
    await body();
  } catch (error) {
    showError(error);
  } finally {
    delete root.dataset['busy'];
    for (const button of enabled) button.disabled = false;
    // A button loses the focus when it is switched off; the keyboard's place must not jump.
    const now = document.activeElement;
    const isLost = now === document.body || (now instanceof HTMLButtonElement && now.disabled);
    if (focused instanceof HTMLElement && isLost) focused.focus();
  }
}

/** The pages of the site, in the order of the gallery. */
const PAGES: readonly (readonly [folder: string, name: string])[] = [
  ['01-first-migration/', 'First migration'],
  ['02-fault-back/', 'Fault back'],
  ['03-copy-bench/', 'Copy benchmark'],
  ['04-cpu-and-gpu/', 'CPU and GPU'],
  ['05-fault-lab/', 'Fault lab'],
  ['06-oversubscription/', 'Oversubscription'],
  ['selftests/', 'Selftests'],
  ['docs/', 'Documents'],
];

function header(siteRoot: URL): HTMLElement {
  const here = new URL('./', location.href).href;
  const links = [['./', 'WebHMM'] as const, ...PAGES].map(([folder, name]) => {
    const { href } = new URL(folder, siteRoot);
    const brand = folder === './' ? 'brand' : undefined;
    return el('a', { href, class: brand, 'aria-current': href === here && 'page' }, name);
  });
  const row = el('nav', { 'aria-label': 'Site' }, ...links);
  followScroll(row);
  return el('header', { class: 'bar' }, row, themeButton());
}
