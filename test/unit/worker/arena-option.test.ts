/*
 * The bound of an arena that a machine may be given: smaller than a page, no number of arenas would
 * hold the device memory, and whoever opened the machine would wait for ever.
 */
import { expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { OpenError, bootMachine } from '../../../src/index.ts';

const SIZES = { engine: 'cpu', ramBytes: 2 ** 23, deviceBytes: 2 ** 21, devices: 1 } as const;

test.each([0, 1, 4095, -4096, 4096.5, Number.NaN, Number.POSITIVE_INFINITY, '4096', null])(
  'arenas of %s bytes are refused',
  async (bytes) => {
    const maxArenaBytes = bytes as number;
    const error: unknown = await bootMachine({ ...SIZES, maxArenaBytes }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OpenError);
    expect(error).toMatchObject({ errno: errno.EINVAL });
    expect(String(error)).toContain(`arenas of ${bytes} bytes`);
  },
);

test.each([4096, 4097, 2 ** 40])('arenas of %s bytes are not', async (maxArenaBytes) => {
  const machine = await bootMachine({ ...SIZES, maxArenaBytes });
  await machine.close();
});
