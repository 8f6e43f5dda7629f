/*
 * The copy-engine contract on WebGPU through Dawn in Node.
 */
import { describeCopyEngine } from './copy-engine-contract.ts';
import { CROWDED, webgpuHarness } from './webgpu-harness.ts';

describeCopyEngine(webgpuHarness('Dawn, several arenas and small slots', CROWDED));
describeCopyEngine(webgpuHarness('Dawn, default sizes', {}));
