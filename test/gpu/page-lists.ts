/* Lists of single pages for small engines, and what engines tell the device about them. */
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { HOST } from '../contract/refused-submissions.ts';

/** What the engine tells the device from now on, in order; submissions of several by number. */
export function listen({ device }: WebGpuEngine): string[] {
  const said: string[] = [];
  const create = device.createCommandEncoder.bind(device);
  const submit = device.queue.submit.bind(device.queue);
  const write = device.queue.writeBuffer.bind(device.queue);
  device.createCommandEncoder = () => {
    said.push('record');
    return create();
  };
  device.queue.submit = (commands) => {
    const { length } = [...commands];
    said.push(length === 1 ? 'submit' : `submit ${length}`);
    submit(commands);
  };
  device.queue.writeBuffer = (...args: Parameters<GPUQueue['writeBuffer']>) => {
    said.push('write');
    write(...args);
  };
  return said;
}

/** Pages that are no neighbours of each other, from RAM frames `pages` to 1 or to the last ones. */
export function copies(pages: number, way: 'up' | 'down'): CommandList {
  const list = new CommandList(pages);
  for (let i = 0; i < pages; i++) {
    // Backwards, so that nothing merges.
    const host = pages - i;
    if (way === 'up') list.copy(host, HOST + 2 * i);
    else list.copy(HOST + 2 * i, HOST - 1 - i);
  }
  return list;
}
