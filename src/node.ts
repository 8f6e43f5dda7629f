/**
 * What programs in Node need besides the facade (index.ts), which browsers could not load: threads
 * for CPU cores.
 */
export { nodeCoreThreads } from './worker/core-threads-node.ts';
