/*
 * A worker_threads entry for node-gpu.test.ts: it adds two numbers on the GPU, in WGSL.
 */
import { parentPort } from 'node:worker_threads';
import { transferHandlers } from 'comlink';
import { openNodeGpu } from '../../cli/node-gpu.ts';
import code from './add.wgsl?raw';

const { gpu, adapter } = await openNodeGpu(() => {});
const device = await (await gpu.requestAdapter())?.requestDevice();
if (device === undefined) {
  throw new Error('no device in the worker');
}
const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
const numbers = device.createBuffer({ size: 8, usage });
const answer = device.createBuffer({
  size: 4,
  usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
});
device.queue.writeBuffer(numbers, 0, Uint32Array.of(40, 2));
const module = device.createShaderModule({ code });
const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
const group = device.createBindGroup({
  layout: pipeline.getBindGroupLayout(0),
  entries: [{ binding: 0, resource: { buffer: numbers } }],
});
const encoder = device.createCommandEncoder();
const pass = encoder.beginComputePass();
pass.setPipeline(pipeline);
pass.setBindGroup(0, group);
pass.dispatchWorkgroups(1);
pass.end();
encoder.copyBufferToBuffer(numbers, 0, answer, 0, 4);
device.queue.submit([encoder.finish()]);
await answer.mapAsync(GPUMapMode.READ);
const sum = new Uint32Array(answer.getMappedRange())[0];
device.destroy();
parentPort?.postMessage({ sum, adapter, hasPackages: transferHandlers instanceof Map });
