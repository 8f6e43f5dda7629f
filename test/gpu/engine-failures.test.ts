/*
 * Devices that fail without being lost: what `submit` answers, which done bits are set, what RAM
 * holds, and that the engine goes on working where it can.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import type { Slot } from '../../src/gpu/rings.ts';
import { arenaBytes, createVram } from '../../src/gpu/vram.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';
import { HOST, describeRefusedSubmissions, openSmall } from '../contract/refused-submissions.ts';

describeRefusedSubmissions();

describe('a map that the device refuses', () => {
  const refuse = (slot: Slot): void => {
    slot.buffer.mapAsync = () => Promise.reject(new Error('no map today'));
  };

  it('of an upload slot: the list answers EIO, the slot is replaced, the next works', async () => {
    const { engine, words } = await openSmall({ checked: true, slotPages: [16], lanes: 1 });
    const { uploads } = engine.parts;
    const slot = uploads.take(16)!;
    refuse(slot);
    uploads.give(slot);
    const list = new CommandList(1);
    list.copy(0, HOST, 8);
    expect(await engine.submit(list, 'staging')).toBe(errno.EIO);
    expect(list.done[0]).toBe(0);
    expect(engine.isLost).toBe(false);
    expect(engine.deviceErrors.join(' ')).toContain('no map today');
    expect(await engine.submit(list, 'staging')).toBe(0);
    list.reset();
    list.copy(HOST, 500, 8);
    expect(await engine.submit(list, 'staging')).toBe(0);
    expect(words[500 * 1024 + 77]).toBe(77);
    await engine.close();
  });

  it('of a readback slot: the list answers EIO and RAM stays as it was', async () => {
    const { engine, words } = await openSmall({ checked: true, slotPages: [16], lanes: 1 });
    const { readbacks } = engine.parts;
    const slot = readbacks.take(16)!;
    refuse(slot);
    readbacks.give(slot);
    const list = new CommandList(1);
    list.copy(HOST, 0, 8);
    expect(await engine.submit(list, 'staging')).toBe(errno.EIO);
    expect(list.done[0]).toBe(0);
    expect(words[8191]).toBe(8191);
    await engine.close();
  });
});

it('a device that dies between a map and its landing: ENODEV, and RAM stays', async () => {
  const { engine, words } = await openSmall({ checked: true, slotPages: [16], lanes: 1 });
  const { readbacks } = engine.parts;
  const slot = readbacks.take(16)!;
  const mapAsync = slot.buffer.mapAsync.bind(slot.buffer);
  slot.buffer.mapAsync = async (mode, offset, size) => {
    await mapAsync(mode, offset, size);
    engine.device.destroy();
  };
  readbacks.give(slot);
  const list = new CommandList(1);
  list.copy(HOST, 0, 8);
  expect(await engine.submit(list, 'staging')).toBe(errno.ENODEV);
  expect(list.done[0]).toBe(0);
  expect(words[8191]).toBe(8191);
  expect(engine.isLost).toBe(true);
  await engine.close();
});

describe('device memory', () => {
  it('arenas are as large as allowed, in whole folios where one fits', () => {
    const MIB = 2 ** 20;
    expect(arenaBytes(64 * MIB, 128 * MIB, Infinity)).toBe(64 * MIB);
    expect(arenaBytes(128 * MIB, 128 * MIB, Infinity)).toBe(128 * MIB);
    expect(arenaBytes(129 * MIB, 128 * MIB, Infinity)).toBe(128 * MIB);
    expect(arenaBytes(64 * MIB, 2 ** 31 - 4, Infinity)).toBe(64 * MIB);
    expect(arenaBytes(4096 * MIB, 2 ** 31 - 4, Infinity)).toBe(2046 * MIB);
    expect(arenaBytes(64 * MIB, 128 * MIB, 5 * MIB)).toBe(4 * MIB);
    expect(arenaBytes(64 * MIB, 128 * MIB, 1.5 * MIB)).toBe(1.5 * MIB);
  });

  it('VRAM that does not divide into arenas ends in a smaller one', async () => {
    const geometry = { hostFrames: 16, vramFrames: 600 };
    const ram = new Uint8Array(new SharedArrayBuffer(16 * 4096));
    const engine = await createWebGpuEngine({ ram, geometry, maxArenaBytes: 2 ** 20 });
    if (isEngineOpenError(engine)) throw new Error(engine.cause);
    expect(engine.vram.framesPerArena).toBe(256);
    expect(engine.vram.arenas.map((arena) => arena.size / 4096)).toEqual([256, 256, 88]);
    const list = new CommandList(2);
    list.copy(3, 16 + 599);
    expect(await engine.submit(list)).toBe(0);
    await engine.close();
  });

  it('answers ENOMEM with cause and remedy when there is no room, and keeps nothing', async () => {
    // A real device would have to be filled up; this one says no to the third arena.
    const destroyed: number[] = [];
    let made = 0;
    const device = {
      limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 },
      pushErrorScope() {},
      popErrorScope: async () => (made > 2 ? { message: 'out of video memory' } : null),
      createBuffer() {
        const id = made;
        made += 1;
        return { destroy: () => destroyed.push(id) };
      },
    } as unknown as GPUDevice;
    const refused = await createVram(device, (3 * 2 ** 27) / 4096, Infinity);
    if (!isEngineOpenError(refused)) throw new Error('there was room');
    expect(refused.errno).toBe(errno.ENOMEM);
    expect(refused.cause).toContain('out of video memory');
    expect(refused.remedy).toContain('less device memory');
    expect(destroyed).toEqual([0, 1, 2]);
  });
});
