/**
 * Engines for kernels over the memory of a machine's devices: one for each arena of VRAM, made at
 * its first use. It knows the concrete classes, as boot.ts does.
 */
import { errno } from '../base/errno.ts';
import { MEMORY_DEVICE_PRIVATE } from '../mm/memremap.ts';
import { APERTURE_PAGES } from '../driver/dmirror-device.ts';
import type { DmirrorDevice } from '../driver/dmirror-device.ts';
import type { CopyEngine } from '../engine/copy-engine.ts';
import { CpuEngine } from '../engine/cpu-engine.ts';
import { CpuVmEngine } from '../engine/vm/cpu-vm.ts';
import type { VmEngine } from '../engine/vm/vm-engine.ts';
import { WebGpuEngine } from '../gpu/engine-core.ts';
import { GpuVmEngine } from '../gpu/vm/gpu-vm.ts';

/** Seed of the order in which the CPU engine runs invocations. */
const SEED = 20_261_121;

/** Where kernels of a device run. */
export interface VmHome {
  readonly engine: VmEngine;
  /** pfn of the engine's frame 0. */
  readonly firstFrame: number;
  /** Whether it reaches the frames through which a device's kernels use pages in RAM. */
  reachesAperture(device: DmirrorDevice): boolean;
}

/** See the file header. */
export class VmEngines {
  private readonly copies: CopyEngine;
  private readonly homes = new Map<number, VmHome>();

  constructor(copies: CopyEngine) {
    this.copies = copies;
  }

  /**
   * Where a device's kernels run.
   *
   * @returns ENODEV when the machine's device is lost; EOPNOTSUPP for a device without memory of
   * its own, and for one whose memory does not lie in one arena
   */
  of({ memory }: DmirrorDevice): VmHome | number {
    const { copies } = this;
    if (copies.isLost) return errno.ENODEV;
    if (memory.type !== MEMORY_DEVICE_PRIVATE) return errno.EOPNOTSUPP;
    const { hostFrames, vramFrames } = copies.geometry;
    const perArena = copies instanceof WebGpuEngine ? copies.vram.framesPerArena : vramFrames;
    const arenaOf = (pfn: number): number => Math.floor((pfn - hostFrames) / perArena);
    const arena = arenaOf(memory.startPfn);
    if (arenaOf(memory.startPfn + memory.capacityPages - 1) !== arena) return errno.EOPNOTSUPP;
    const known = this.homes.get(arena);
    if (known !== undefined) return known;
    const first = arena * perArena;
    const engine = this.open(arena, Math.min(perArena, vramFrames - first));
    if (engine === null) return errno.EOPNOTSUPP;
    const firstFrame = hostFrames + first;
    const end = firstFrame + engine.frames - APERTURE_PAGES;
    const home: VmHome = {
      engine,
      firstFrame,
      reachesAperture: ({ apertureFrame }) => apertureFrame >= firstFrame && apertureFrame <= end,
    };
    this.homes.set(arena, home);
    return home;
  }

  /** Gives everything back. */
  close(): void {
    for (const { engine } of this.homes.values()) engine.destroy();
    this.homes.clear();
  }

  private open(arena: number, frames: number): VmEngine | null {
    const { copies } = this;
    if (copies instanceof CpuEngine) {
      return new CpuVmEngine(frames, SEED, copies.vramWords, () => copies.isLost);
    }
    if (!(copies instanceof WebGpuEngine)) return null;
    return new GpuVmEngine(copies.device, frames, copies.vram.arenas[arena]);
  }
}
