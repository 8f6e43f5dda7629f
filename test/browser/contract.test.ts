/*
 * The copy-engine contract on WebGPU in a browser: shared memory goes straight into writeBuffer
 * here.
 */
import { describeCopyEngine } from '../contract/copy-engine-contract.ts';
import { CROWDED, webgpuHarness } from '../contract/webgpu-harness.ts';

describeCopyEngine(webgpuHarness('browser, several arenas and small slots', CROWDED));
describeCopyEngine(webgpuHarness('browser, default sizes', {}));
