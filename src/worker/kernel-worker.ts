/** Entry of the kernel worker in browsers. */
import * as Comlink from 'comlink';
import { createKernelHost } from './kernel-host.ts';

// A rejection nobody handles does not reach the page's `error` listener by itself; thrown again it
// does.
addEventListener('unhandledrejection', (event) => {
  setTimeout(() => {
    throw event.reason;
  });
});

Comlink.expose(createKernelHost());
