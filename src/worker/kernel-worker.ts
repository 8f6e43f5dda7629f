/** Entry of the kernel worker in browsers. */
import * as Comlink from 'comlink';
import { createKernelHost } from './kernel-host.ts';

const { api, panic } = createKernelHost();

addEventListener('error', (event) => {
  event.preventDefault();
  panic(event.error ?? event.message);
});
addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  panic(event.reason);
});

Comlink.expose(api);
