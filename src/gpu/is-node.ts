/*
 * Where this code runs, as far as WebGPU differs: Dawn in Node lives in this process, that of a
 * browser in another one.
 */

/** True in Node and its likes. */
export function isNode(): boolean {
  const host = globalThis as { process?: { versions?: { node?: string } } };
  return host.process?.versions?.node !== undefined;
}
