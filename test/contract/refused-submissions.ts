/*
 * Submissions that the device refuses: what `submit` answers, which done bits are set, what RAM
 * holds, and that the engine goes on working; with error scopes, without, and where the engine
 * leaves a scope out.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { nudgerOf } from '../../src/gpu/nudge.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import type { WebGpuEngineOptions } from '../../src/gpu/webgpu-engine.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';

export const HOST = 1024;
const ARENA = 256;

/** An engine with four arenas, and RAM whose words hold their numbers. */
export async function openSmall(options: Partial<WebGpuEngineOptions>) {
  const geometry = { hostFrames: HOST, vramFrames: 4 * ARENA };
  const ram = new Uint8Array(new SharedArrayBuffer(HOST * 4096));
  const words = new Uint32Array(ram.buffer);
  words.forEach((_, i) => (words[i] = i));
  const maxArenaBytes = ARENA * 4096;
  const engine = await createWebGpuEngine({ ram, geometry, maxArenaBytes, lanes: 2, ...options });
  if (isEngineOpenError(engine)) throw new Error(engine.cause);
  return { engine, words };
}

/** Pages of all four arenas into RAM frames 0 to 1023; arena 2 is the broken one. */
function downloads(engine: WebGpuEngine): CommandList {
  engine.vram.arenas[2]!.destroy();
  const list = new CommandList(4);
  for (let arena = 0; arena < 4; arena++) list.copy(HOST + arena * ARENA, arena * ARENA, 60);
  return list;
}

export function describeRefusedSubmissions(): void {
  describe.each([true, false])('a refused submission, checked %s', (checked) => {
    it('answers EIO, keeps RAM, and leaves the done bits of what is not there clear', async () => {
      const { engine, words } = await openSmall({ checked, slotPages: [64] });
      const list = downloads(engine);
      expect(await engine.submit(list, 'staging')).toBe(errno.EIO);
      expect(list.done[2]).toBe(0);
      for (let row = 0; row < 4; row++) {
        const first = row * ARENA * 1024;
        // Arrived rows are zero like fresh VRAM, the others hold what RAM held.
        expect(words[first + 1]).toBe(list.done[row] === 1 ? 0 : first + 1);
        expect(words[first + 60 * 1024 - 1]).toBe(list.done[row] === 1 ? 0 : first + 60 * 1024 - 1);
      }
      expect(engine.deviceErrors.join(' ')).toContain('destroyed');
      expect(engine.isLost).toBe(false);
      await engine.close();
    });

    it('the next list works', async () => {
      const { engine, words } = await openSmall({ checked, slotPages: [64] });
      expect(await engine.submit(downloads(engine), 'staging')).toBe(errno.EIO);
      const list = new CommandList(2);
      list.copy(1000, HOST + 7);
      expect(await engine.submit(list, 'staging')).toBe(0);
      list.reset();
      list.copy(HOST + 7, 900);
      expect(await engine.submit(list, 'staging')).toBe(0);
      expect(words[900 * 1024 + 3]).toBe(1000 * 1024 + 3);
      await engine.close();
    });

    it.each([
      // All flights of the row are in the air when the first one, or the last one, fails.
      ['first', 0, ARENA - 10],
      ['last', 1, ARENA - 50],
    ])('a row whose %s flight fails is not done', async (_which, broken, first) => {
      const { engine } = await openSmall({ checked, slotPages: [16], lanes: 6 });
      engine.vram.arenas[broken]!.destroy();
      const list = new CommandList(2);
      list.copy(HOST + first, 0, 60);
      list.copy(HOST + 2 * ARENA, 100);
      const answer = engine.submit(list, 'staging');
      expect(engine.stats.submissions).toBe(4);
      expect(await answer).toBe(errno.EIO);
      expect(list.done[0]).toBe(0);
      await engine.close();
    });

    it('nothing more of a list is submitted after a failure', async () => {
      const { engine } = await openSmall({ checked, slotPages: [16], lanes: 1 });
      engine.vram.arenas[0]!.destroy();
      const list = new CommandList(1);
      list.copy(HOST, 0, 60);
      expect(await engine.submit(list, 'staging')).toBe(errno.EIO);
      expect(engine.stats.submissions).toBe(1);
      await engine.close();
    });
  });

  /** Error scopes that submissions open from now on: all but the nudges'. */
  function countScopes(engine: WebGpuEngine): () => number {
    const { device } = engine;
    const nudger = nudgerOf(device);
    const before = nudger.sent;
    const push = device.pushErrorScope.bind(device);
    let scopes = 0;
    device.pushErrorScope = (filter) => {
      scopes += 1;
      push(filter);
    };
    return () => scopes - (nudger.sent - before);
  }

  describe('a flight with a map to wait for, which has no error scope', () => {
    const ways = [
      ['a small readback', 16, 'runs', 'down'],
      ['a large readback', 40, 'runs', 'down'],
      ['a small upload', 2, 'staging', 'up'],
      ['a large upload', 40, 'runs', 'up'],
      ['a readback by kernel', 16, 'compute', 'down'],
      ['an upload by kernel', 16, 'compute', 'up'],
    ] as const;

    it.each(ways)('%s answers EIO and keeps RAM each time', async (_what, rows, strategy, way) => {
      const { engine, words } = await openSmall({ checked: true });
      const scopes = countScopes(engine);
      engine.vram.arenas[2]!.destroy();
      const list = copies(rows, HOST + 2 * ARENA, way);
      for (let time = 0; time < 50; time++) {
        expect(await engine.submit(list, strategy)).toBe(errno.EIO);
        expect([...list.done.subarray(0, rows)].some((done) => done !== 0)).toBe(false);
      }
      for (let row = 0; row < rows; row++) {
        expect(words[7 * row * 1024 + 5]).toBe(7 * row * 1024 + 5);
      }
      expect(scopes()).toBe(0);
      expect(engine.deviceErrors.join(' ')).toContain('destroyed');
      await engine.close();
    });

    it.each(ways)('%s works where nothing is wrong', async (_what, rows, strategy, way) => {
      const { engine } = await openSmall({ checked: true });
      const scopes = countScopes(engine);
      expect(await engine.submit(copies(rows, HOST, way), strategy)).toBe(0);
      expect(scopes()).toBe(0);
      await engine.close();
    });
  });

  it.each([
    ['an upload by writeBuffer', 'writeBuffer', 'up'],
    ['a move by commands', 'runs', 'move'],
    ['a move by kernel', 'compute', 'move'],
  ] as const)('%s, without a map, has an error scope', async (_what, strategy, way) => {
    const { engine } = await openSmall({ checked: true });
    const scopes = countScopes(engine);
    expect(await engine.submit(copies(3, HOST, way), strategy)).toBe(0);
    expect(scopes()).toBe(1);
    await engine.close();
  });
}

/** Copies of single pages to, from or within VRAM from frame `vram` on. */
function copies(rows: number, vram: number, way: 'up' | 'down' | 'move'): CommandList {
  const list = new CommandList(rows);
  for (let row = 0; row < rows; row++) {
    if (way === 'down') list.copy(vram + 2 * row, 7 * row);
    else if (way === 'up') list.copy(7 * row, vram + 2 * row);
    else list.copy(vram + 2 * row, vram + 2 * row + 1);
  }
  return list;
}
