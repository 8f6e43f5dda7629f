/*
 * Prints what adapter Dawn finds in a Node process with this environment, as one line of JSON: the
 * adapter's info or null. It is a process of its own because the environment that leads Dawn to a
 * Vulkan driver only works when it is set before the process starts.
 */
import { create } from 'webgpu';

// Dawn aborts if this object is collected while an adapter lives.
const gpu = create(process.platform === 'linux' ? ['backend=vulkan'] : []);
globalThis.heldGpu = gpu;
const info = (await gpu.requestAdapter())?.info;
const names = ['vendor', 'architecture', 'device', 'description', 'isFallbackAdapter'];
const report = info ? Object.fromEntries(names.map((name) => [name, info[name]])) : null;
process.stdout.write(`${JSON.stringify(report)}\n`);
