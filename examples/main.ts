/*
 * The gallery: what this browser has of what WebHMM needs, with what to do about what is missing.
 */
import { byId, el } from './_shell/dom.ts';
import { listDocuments } from './_shell/documents.ts';
import { runPage } from './_shell/page.ts';
import { adapterName, probeAdapter } from './_shell/status.ts';
import type { AdapterNames } from './_shell/status.ts';

interface Check {
  readonly name: string;
  readonly badge: readonly [tone: 'good' | 'warn' | 'bad', text: string];
  readonly detail: string;
  readonly remedy?: string;
}

function checkIsolation(): Check {
  const name = 'Cross-origin isolation';
  if (!crossOriginIsolated) {
    return {
      name,
      badge: ['bad', 'missing'],
      detail: 'Without it browsers give no shared memory, which is what RAM is made of here.',
      remedy: `The host has to send Cross-Origin-Opener-Policy: same-origin and
        Cross-Origin-Embedder-Policy: require-corp. Where it can't, a service worker of this
        site adds them and reloads the page once; it needs HTTPS or localhost, and is often
        off in private windows.`,
    };
  }
  const detail = navigator.serviceWorker?.controller
    ? 'The host sends no isolation headers; the service worker of this site adds them.'
    : 'The host sends the headers that shared memory needs.';
  return { name, badge: ['good', 'yes'], detail };
}

function checkAdapter(adapter: AdapterNames | null): Check {
  const name = 'WebGPU adapter';
  if (!('gpu' in navigator)) {
    return {
      name,
      badge: ['bad', 'no WebGPU'],
      detail: 'This browser has no WebGPU, or hides it on this page.',
      remedy: `Chrome and Edge have it from 113 on (Linux: behind --enable-unsafe-webgpu in
        older versions), Safari from 26, Firefox from 141 (elsewhere: dom.webgpu.enabled in
        about:config). It is only offered over HTTPS and on localhost.`,
    };
  }
  if (adapter === null) {
    return {
      name,
      badge: ['bad', 'none'],
      detail: 'WebGPU is here but offers no adapter.',
      remedy: `Switch hardware acceleration on in the browser's settings and update the graphics
        driver. For a software adapter start Chrome with --enable-unsafe-webgpu. Each page can also
        run on the CPU engine, with ?engine=cpu in its address.`,
    };
  }
  if (adapter.isSoftware) {
    return {
      name,
      badge: ['warn', 'software adapter'],
      detail: `${adapterName(adapter)} computes on the CPU. Everything works, every check counts,
        but no time measured here is a GPU's.`,
    };
  }
  return { name, badge: ['good', 'GPU'], detail: adapterName(adapter) };
}

function checkThreads(): Check {
  const cores = navigator.hardwareConcurrency;
  return {
    name: 'Workers',
    badge: ['good', `${cores} cores`],
    detail: 'The kernel runs in a worker of its own, so that pages stay responsive.',
  };
}

function showCheck({ name, badge, detail, remedy }: Check): HTMLLIElement {
  const [tone, text] = badge;
  const title = el('b', {}, name);
  const item = el('li', {}, title, ' ', el('span', { class: `badge ${tone}` }, text));
  item.append(el('p', { class: 'muted' }, detail));
  if (remedy !== undefined) item.append(el('p', { class: 'remedy' }, remedy));
  return item;
}

byId('docs').append(
  ...listDocuments().map(({ name, title }) =>
    el('li', {}, el('a', { href: `./docs/#${name}` }, title)),
  ),
);

await runPage(async (page) => {
  const adapter = await probeAdapter();
  if (adapter !== null) page.status.showAdapter(adapter);
  else page.status.set('Adapter', 'none', ['bad']);
  const checks = [checkAdapter(adapter), checkIsolation(), checkThreads()];
  byId('checks').replaceChildren(...checks.map(showCheck));
  const isReady = crossOriginIsolated && adapter !== null;
  page.result(isReady ? 'ok' : 'wrong');
});
