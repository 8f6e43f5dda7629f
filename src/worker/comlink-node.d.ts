/** Comlink's Node adapter ships without resolvable types for its module file. */
declare module 'comlink/dist/esm/node-adapter.mjs' {
  import type { Endpoint } from 'comlink';
  /** Wraps a worker_threads Worker or MessagePort as a Comlink endpoint. */
  export default function nodeEndpoint(port: unknown): Endpoint;
}
