/*
 * Makes pages cross-origin isolated on hosts that can't send headers of their own.
 *
 * SharedArrayBuffer exists only in pages that were served with Cross-Origin-Opener-Policy and
 * Cross-Origin-Embedder-Policy. This service worker passes every request of the site through to the
 * network and adds the headers to the answer. It caches nothing and changes nothing else.
 * _shell/isolation.ts registers it where it is needed, and reloads the page once.
 */
// Plain JavaScript: its types are unknown to the linter.
// oxlint-disable typescript/no-unsafe-argument, typescript/no-unsafe-assignment
// oxlint-disable typescript/no-unsafe-call, typescript/no-unsafe-member-access, typescript/no-unsafe-return
const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

addEventListener('install', () => void skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));

addEventListener('fetch', (event) => {
  const { request } = event;
  const isOurs = new URL(request.url).origin === location.origin;
  // A request from the HTTP cache alone can't be repeated by fetch() unless it is same-origin.
  const isCacheOnly = request.cache === 'only-if-cached' && request.mode !== 'same-origin';
  if (isOurs && !isCacheOnly) event.respondWith(fetchIsolated(request));
});

async function fetchIsolated(request) {
  const response = await fetch(request);
  // Redirects are opaque here (status 0) and have to be handed on as they are.
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const { status, statusText } = response;
  // 204, 205 and 304 may not have a body, not even an empty one.
  const body = [204, 205, 304].includes(status) ? null : response.body;
  return new Response(body, { status, statusText, headers });
}
