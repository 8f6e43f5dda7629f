/*
 * The contract harness of WebGPU engines, for Dawn in Node and for browsers alike.
 */
import type { WebGpuEngineOptions } from '../../src/gpu/webgpu-engine.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import type { EngineHarness } from './engine-harness.ts';

/** Engine options that a variant of the harness sets. */
export type HarnessVariant = Pick<
  WebGpuEngineOptions,
  'maxArenaBytes' | 'slotPages' | 'lanes' | 'maxGroupsPerDimension' | 'tuning' | 'checked'
>;

/** Small arenas, slots and grids: each list crosses several of each. */
export const CROWDED: HarnessVariant = {
  maxArenaBytes: 2 ** 20,
  slotPages: [4, 16, 64],
  lanes: 2,
  maxGroupsPerDimension: 7,
};

/** A harness for engines of a variant. */
export function webgpuHarness(title: string, variant: HarnessVariant): EngineHarness {
  return {
    title,
    strategies: ['commands', 'staging', 'runs', 'compute', 'writeBuffer', 'cpu'],
    pages: variant.slotPages === undefined ? 1536 : 1024,
    can(strategy, direction) {
      if (direction === 'ram') return true;
      if (strategy === 'cpu') return false;
      return strategy !== 'writeBuffer' || direction === 'up';
    },
    async open(ram, geometry) {
      const engine = await createWebGpuEngine({ ram, geometry, checked: true, ...variant });
      if (isEngineOpenError(engine)) throw new Error(`${engine.cause} ${engine.remedy}`);
      return {
        engine,
        lose: () => engine.device.destroy(),
        strayErrors: () => [...engine.deviceErrors, ...engine.parts.resources.kernels.messages],
        kernelStatus: () => engine.kernelStatus(),
        readVram: () => readArenas(engine),
        pokeVram: (frame, word, value) => poke(engine, frame, word, value),
      };
    },
  };
}

/** All of VRAM, through buffers of the test's own. */
export async function readArenas(engine: WebGpuEngine): Promise<Uint32Array> {
  const { device, vram } = engine;
  const words = new Uint32Array(vram.frames * 1024);
  let at = 0;
  for (const arena of vram.arenas) {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const copy = device.createBuffer({ size: arena.size, usage });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(arena, 0, copy, 0, arena.size);
    device.queue.submit([encoder.finish()]);
    await copy.mapAsync(GPUMapMode.READ);
    words.set(new Uint32Array(copy.getMappedRange()), at);
    at += arena.size / 4;
    copy.destroy();
  }
  return words;
}

function poke(engine: WebGpuEngine, frame: number, word: number, value: number): void {
  const { device, vram, geometry } = engine;
  const local = frame - geometry.hostFrames;
  const arena = vram.arenas[Math.floor(local / vram.framesPerArena)]!;
  const offset = (local % vram.framesPerArena) * 4096 + word * 4;
  device.queue.writeBuffer(arena, offset, new Uint32Array([value]));
}
