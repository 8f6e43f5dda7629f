/** Chunks take pagemaps, and a machine has MAX_PAGEMAPS of them: how small a chunk may be. */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { smallestChunk } from '../../../src/driver/device-memory.ts';
import { makeRig, mapFilled, run } from './rig.ts';

test.for([
  [1, 255, 1],
  [1, 256, 2],
  [2, 127, 1],
  [2, 128, 2],
  [4, 2 ** 20, 16645],
])('%i devices of %i pages need chunks of %i pages', ([devices, pages, chunk]) => {
  expect(smallestChunk(devices!, pages!)).toBe(chunk);
});

test('a device of as many chunks as there are pagemaps can be filled', async () => {
  const options = { devices: 1, deviceBytes: 255 * PAGE_SIZE, chunkBytes: PAGE_SIZE };
  const rig = await makeRig(options);
  const addr = await mapFilled(rig, 255);
  expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 255)).toBe('0 255 0');
  await rig.machine.close();
});

test('a machine with more chunks than that is refused, with the size that it takes', async () => {
  const options = { devices: 1, deviceBytes: 256 * PAGE_SIZE, chunkBytes: PAGE_SIZE };
  await expect(makeRig(options)).rejects.toMatchObject({
    errno: errno.EINVAL,
    remedy: `give at least ${2 * PAGE_SIZE} bytes`,
  });
});
