/*
 * A list of single pages that a kernel scatters, and that fits into one upload slot, is one flight
 * of which nothing is planned. It has to come to what other lists come to, and how it went is seen
 * from what the device is told: descriptors are written before anything is recorded.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { HOST, openSmall } from '../contract/refused-submissions.ts';
import { copies, listen } from './page-lists.ts';

const WORDS = 1024;
const SHORT_WAY = ['write', 'record', 'submit'];
const LONG_WAY = ['record', 'write', 'submit'];
const ONE_ARENA = { checked: true, slotPages: [4, 16], lanes: 3, maxArenaBytes: 2 ** 22 };

/** Pages of `copies(pages, 'up')` that are not where they belong. */
async function wrongPages(
  engine: WebGpuEngine,
  words: Uint32Array,
  pages: number,
): Promise<number[]> {
  expect(await engine.submit(copies(pages, 'down'), 'runs')).toBe(0);
  return Array.from({ length: pages }, (_, i) => i).filter((i) => {
    const [at, from] = [(HOST - 1 - i) * WORDS, (pages - i) * WORDS];
    return words[at] !== from || words[at + WORDS - 1] !== from + WORDS - 1;
  });
}

describe('a list of single pages for a kernel', () => {
  it.each([1, 3, 4, 5, 15, 16])('of %i pages goes the short way', async (pages) => {
    const { engine, words } = await openSmall(ONE_ARENA);
    const before = { ...engine.stats };
    const list = copies(pages, 'up');
    const said = listen(engine);
    expect(await engine.submit(list, 'compute')).toBe(0);
    expect(said).toEqual(SHORT_WAY);
    expect([...list.done.subarray(0, pages)]).toEqual(Array.from({ length: pages }, () => 1));
    const { submissions, maps, dispatches, copyCommands, bytesToDevice } = engine.stats;
    expect([
      submissions - before.submissions,
      maps - before.maps,
      dispatches - before.dispatches,
      copyCommands - before.copyCommands,
      bytesToDevice - before.bytesToDevice,
    ]).toEqual([1, 1, 1, 1, pages * 4096]);
    expect(await wrongPages(engine, words, pages)).toEqual([]);
    await engine.close();
  });

  it('of more pages than a slot has is planned', async () => {
    const { engine, words } = await openSmall(ONE_ARENA);
    const said = listen(engine);
    expect(await engine.submit(copies(17, 'up'), 'compute')).toBe(0);
    expect(said).toEqual(['record', 'record', 'write', 'submit', 'submit']);
    expect(await wrongPages(engine, words, 17)).toEqual([]);
    await engine.close();
  });

  it('in more than one arena, with a row of two pages, or by commands is planned', async () => {
    const { engine } = await openSmall({ ...ONE_ARENA, maxArenaBytes: 2 ** 20 });
    const said = listen(engine);
    expect(await engine.submit(copies(5, 'up'), 'compute')).toBe(0);
    expect(said).toEqual(LONG_WAY);
    await engine.close();
    const other = await openSmall(ONE_ARENA);
    const list = new CommandList(2);
    list.copy(1, HOST + 1);
    list.copy(8, HOST + 8, 2);
    const told = listen(other.engine);
    expect(await other.engine.submit(list, 'compute')).toBe(0);
    expect(told).toEqual(LONG_WAY);
    told.length = 0;
    expect(await other.engine.submit(copies(5, 'up'), 'commands')).toBe(0);
    expect(told).toEqual(['record', 'submit']);
    await other.engine.close();
  });

  it('waits for a slot where all are in use, and for RAM that is still to be written', async () => {
    const { engine, words } = await openSmall(ONE_ARENA);
    const said = listen(engine);
    const answers = Array.from({ length: 5 }, async () =>
      engine.submit(copies(16, 'up'), 'compute'),
    );
    expect(said.filter((one) => one === 'submit')).toHaveLength(3);
    expect(await Promise.all(answers)).toEqual([0, 0, 0, 0, 0]);
    expect(said.filter((one) => one === 'submit')).toHaveLength(5);
    expect(await wrongPages(engine, words, 16)).toEqual([]);
    // Page 16 comes down to RAM frame 500, and what is there then goes up again.
    const down = new CommandList(1);
    down.copy(HOST, 500);
    const up = new CommandList(1);
    up.copy(500, HOST + 600);
    const back = new CommandList(1);
    back.copy(HOST + 600, 501);
    const both = [engine.submit(down, 'runs'), engine.submit(up, 'compute')];
    expect(await Promise.all([...both, engine.submit(back, 'runs')])).toEqual([0, 0, 0]);
    expect(words[501 * WORDS + 7]).toBe(16 * WORDS + 7);
    await engine.close();
  });

  it('that the device refuses or loses has done nothing, and says so', async () => {
    const { engine } = await openSmall(ONE_ARENA);
    const refused = copies(9, 'up');
    const [arena] = engine.vram.arenas;
    arena!.destroy();
    expect(await engine.submit(refused, 'compute')).toBe(errno.EIO);
    expect([...refused.done].includes(1)).toBe(false);
    const lost = copies(9, 'up');
    const answer = engine.submit(lost, 'compute');
    engine.device.destroy();
    expect(await answer).toBe(errno.ENODEV);
    expect([...lost.done].includes(1)).toBe(false);
    expect(await engine.submit(copies(1, 'up'), 'compute')).toBe(errno.ENODEV);
    await engine.close();
  });

  it('whose slot the device took back before it was filled: ENODEV, nothing is sent', async () => {
    const { engine } = await openSmall(ONE_ARENA);
    const { uploads } = engine.parts;
    const take = uploads.take.bind(uploads);
    uploads.take = (pages) => {
      const slot = take(pages);
      // What a buffer that was detached looks like.
      if (slot !== null) slot.range = new ArrayBuffer(0);
      return slot;
    };
    const said = listen(engine);
    expect(await engine.submit(copies(9, 'up'), 'compute')).toBe(errno.ENODEV);
    expect(said).toEqual([]);
    await engine.close();
  });
});
