/*
 * Gives each test file of the project `dawn` a `navigator.gpu` and the WebGPU constants.
 *
 * The object that create() returns has to stay referenced as long as any device lives: once it is
 * collected, the process aborts. Node 20 has no `navigator`, later versions have one without `gpu`.
 */
import { create, globals } from 'webgpu';

const holder = globalThis as typeof globalThis & { heldGpu?: GPU };
const backend = process.platform === 'linux' ? ['backend=vulkan'] : [];
holder.heldGpu ??= create(backend);
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', {
  value: { gpu: holder.heldGpu },
  configurable: true,
});

if ((await navigator.gpu.requestAdapter()) === null) {
  throw new Error('Dawn found an adapter before the run but none in this process');
}
