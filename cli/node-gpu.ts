/*
 * WebGPU in a Node process that is already running, through Dawn.
 *
 * Dawn looks for the Vulkan loader with dlopen("libvulkan.so.1"), and the environment variable that
 * would lead it to the bundled one is only read when a process starts. So the bundled loader is
 * opened first, with RTLD_NODELETE: Node then throws, as the library is no Node add-on, but the
 * library stays, and Dawn's dlopen finds it by its name. Which driver the loader takes is read from
 * the environment later, so VK_DRIVER_FILES may still be set here. Only the main thread can set it:
 * openNodeGpu() must have been called there before a worker thread uses Dawn.
 *
 * Dawn aborts the process when the object that create() returned is collected while a device lives;
 * it is held on globalThis. Each thread has to do that for itself, which is why this may be called
 * in each.
 */
import { constants } from 'node:os';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { describeAdapter, reportOf } from './adapter.ts';
import type { AdapterReport } from './adapter.ts';
import { UsageError } from './args.ts';
import { dawnEnv, unpackChromium } from './chromium-bundle.ts';

/**
 * dlopen's flag for "keep it loaded"; node:os does not name it. Without it the library goes again.
 */
const RTLD_NODELETE = 0x1000;

export interface NodeGpu {
  readonly gpu: GPU;
  readonly adapter: AdapterReport;
}

/**
 * Gives WebGPU in this thread and defines `navigator.gpu` and the WebGPU constants, which Node 20
 * lacks.
 *
 * On Linux x64 it runs on the bundled SwiftShader, or with WEBHMM_GPU=hardware on the machine's
 * driver; on other platforms on the platform's graphics API.
 *
 * @param say called with lines for people
 * @throws UsageError where there is no adapter
 */
export async function openNodeGpu(say: (line: string) => void): Promise<NodeGpu> {
  if (isMainThread) {
    await preloadDriver(say);
  }
  const { create, globals } = await import('webgpu');
  const holder = globalThis as typeof globalThis & { heldGpu?: GPU };
  const gpu = (holder.heldGpu ??= create(process.platform === 'linux' ? ['backend=vulkan'] : []));
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  const info = (await gpu.requestAdapter())?.info;
  if (info === undefined) {
    const remedy = 'install a graphics driver, or use --browser auto or --adapter cpu';
    throw new UsageError(`Dawn for Node finds no WebGPU adapter here: ${remedy}`);
  }
  const adapter = reportOf(info);
  say(`Node ${process.versions.node} with Dawn, adapter: ${describeAdapter(adapter)}`);
  return { gpu, adapter };
}

async function preloadDriver(say: (line: string) => void): Promise<void> {
  const bundle = await unpackChromium(say);
  if (bundle === undefined || process.env['WEBHMM_GPU'] === 'hardware') {
    return;
  }
  const { VK_DRIVER_FILES } = dawnEnv(bundle);
  process.env['VK_DRIVER_FILES'] ??= VK_DRIVER_FILES;
  try {
    const loader = join(bundle.folder, 'libvulkan.so.1');
    process.dlopen({ exports: {} }, loader, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  } catch {
    // Expected: "did not self-register". If the library did not load, the adapter is missing below.
  }
}
