/*
 * Runs in the page before each test file of the project `chromium`.
 *
 * It waits for an adapter on the main thread: until the GPU process is up, Chromium 147 answers
 * null to a worker that asks (a page that asks is made to wait), and the adapter that comes a
 * little later can't open a device. Asking here first makes that impossible, however loaded the
 * machine is.
 */
import { beforeEach, inject } from 'vitest';

const adapter = 'gpu' in navigator ? await navigator.gpu.requestAdapter() : null;
if (adapter === null) {
  const reason = `this browser has no WebGPU adapter (${navigator.userAgent})`;
  if (inject('gpuRequired')) {
    throw new Error(`${reason}, and CI or REQUIRE_GPU is set`);
  }
  beforeEach((context) => context.skip(reason));
} else {
  (await adapter.requestDevice()).destroy();
}
