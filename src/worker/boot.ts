/**
 * Composition root: the one place that knows every concrete class. It checks the options, reserves
 * memory, opens the copy engine and hands out a `Kernel`. Failures are data (what is wrong, what to
 * do), since they cross to other threads.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, PFN_LIMIT, PMD_SIZE, bytesToPages } from '../base/units.ts';
import { CpuEngine } from '../engine/cpu-engine.ts';
import type { CopyEngine, FrameGeometry } from '../engine/copy-engine.ts';
import { smallestChunk } from '../driver/device-memory.ts';
import { APERTURE_PAGES, DmirrorDevice } from '../driver/dmirror-device.ts';
import type { DriverContext } from '../driver/dmirror-device.ts';
import { FaultAround } from '../driver/fault-around.ts';
import type { Scratch } from '../gpu/calibrate.ts';
import { createWebGpuEngine } from '../gpu/webgpu-engine.ts';
import { createSystem } from '../mm/system.ts';
import { THP_ALWAYS, THP_MADVISE, THP_NEVER } from '../mm/mm-types.ts';
import type { System } from '../mm/mm-types.ts';
import { swapon } from '../mm/swapfile.ts';
import { openCrew } from './copy-crew-open.ts';
import type { CopyCrew } from './copy-crew.ts';
import type { BootOptions } from './create-options.ts';
import { Kernel } from './kernel.ts';
import type { MachineOptions, OpenFailure } from './protocol.ts';
import { VmEngines } from './vm-engines.ts';

const MIB = 2 ** 20;
/** What the engine's calibration moves pages between: 4 MiB on either side. */
const SCRATCH_FRAMES = 1024;
const MAX_RAM_BYTES = 4096 * MIB;
const MAX_DEVICES = 4;
const MAX_RING_DEPTH = 8;
/** Number of the first coherent device, and the most there can be of them, as in Linux. */
const COHERENT_MINOR = 2;
const MAX_COHERENT_DEVICES = 2;
const DEFAULT_COHERENT_BYTES = 16 * MIB;
const DEFAULT_CHUNK_BYTES = 16 * MIB;
/** RAM grows in WebAssembly pages, so that it can be the linear memory of a guest. */
const WASM_PAGE_BYTES = 65536;

const THP_MODES = { never: THP_NEVER, madvise: THP_MADVISE, always: THP_ALWAYS } as const;

/** Options with every default filled in, in pages. */
interface Plan {
  readonly ramPages: number;
  readonly devicePages: number;
  readonly devices: number;
  readonly chunkPages: number;
  readonly coherentDevices: number;
  readonly coherentPages: number;
  readonly geometry: FrameGeometry;
}

/**
 * Builds a machine in this thread.
 *
 * @returns the kernel, or why there is none: EINVAL for bad options, ENOMEM, ENODEV without a
 *   usable adapter.
 */
export async function boot(options: BootOptions = {}): Promise<Kernel | OpenFailure> {
  const plan = planMachine(options);
  if ('remedy' in plan) return plan;
  const sys = reserveMemory(plan);
  if ('remedy' in sys) return sys;
  sys.thpMode = THP_MODES[options.thp ?? 'madvise'];
  const noSwap = addSwap(sys, options.swapBytes ?? 0);
  if (noSwap !== null) return noSwap;
  const crew = await openCrew(sys.ram, options.copyThreads ?? 1, options.copyWorker);
  if (crew !== null && 'remedy' in crew) return crew;
  const engine = await openEngine(options, plan, sys, crew ?? undefined);
  if ('remedy' in engine) {
    crew?.close();
    return engine;
  }
  const context: DriverContext = {
    sys,
    engine,
    strategy: options.strategy ?? 'auto',
    nowMs: () => performance.now(),
  };
  const devices = createDevices(context, plan);
  if (typeof devices === 'number') {
    await engine.close();
    return failure(devices, 'the device memory does not fit the pfn space', 'ask for less');
  }
  const badWindow = addFaultAround(devices, options.faultAroundBytes ?? PAGE_SIZE);
  if (badWindow !== null) {
    await engine.close();
    return badWindow;
  }
  const kernel = new Kernel({
    sys,
    engine,
    context,
    devices,
    vmEngines: new VmEngines(engine),
    report: {
      engine: engine.name,
      adapter: engine.adapter,
      strategies: engine.strategies,
      ramBytes: plan.ramPages * PAGE_SIZE,
      deviceBytes: plan.devicePages * PAGE_SIZE,
      devices: plan.devices,
      coherentBytes: plan.coherentPages * PAGE_SIZE,
      coherentDevices: plan.coherentDevices,
    },
  });
  if (options.strategy !== undefined && isErr(kernel.setStrategy(options.strategy))) {
    await engine.close();
    const known = ['auto', ...engine.strategies].filter((name) => kernel.canMigrateBy(name));
    const cause = `strategy ${options.strategy} does not migrate pages here`;
    return failure(errno.EINVAL, cause, `use one of: ${known.join(', ')}`);
  }
  return kernel;
}

/** Gives the machine its swap space; or why it has none. */
function addSwap(sys: System, bytes: number): OpenFailure | null {
  if (bytes === 0) return null;
  const cause = `swap space of ${bytes} bytes`;
  if (!isSize(bytes, PAGE_SIZE, (PFN_LIMIT - 1) * PAGE_SIZE)) {
    return failure(errno.EINVAL, cause, 'give 4 KiB to less than 32 GiB, or 0 for none');
  }
  const status = swapon(sys, bytesToPages(bytes));
  return isErr(status) ? failure(status, `${cause} does not fit this host`, 'ask for less') : null;
}

/** Gives each device its windows for CPU faults; or why it has none. */
function addFaultAround(devices: readonly DmirrorDevice[], bytes: number): OpenFailure | null {
  const isWindow = isSize(bytes, PAGE_SIZE, PMD_SIZE) && Number.isInteger(Math.log2(bytes));
  if (!isWindow) {
    const cause = `fault-around of ${bytes} bytes`;
    return failure(errno.EINVAL, cause, 'give a power of two from 4 KiB to 2 MiB');
  }
  if (bytes === PAGE_SIZE) return null;
  for (const device of devices) device.faultAround = new FaultAround(bytesToPages(bytes));
  return null;
}

/** All devices, private ones first; or an errno. */
function createDevices(context: DriverContext, plan: Plan): DmirrorDevice[] | number {
  const { devicePages, chunkPages, coherentPages } = plan;
  const devices: DmirrorDevice[] = [];
  let aperture = plan.geometry.hostFrames + plan.devices * devicePages;
  for (let i = 0; i < plan.devices + plan.coherentDevices; i++, aperture += APERTURE_PAGES) {
    const at = i - plan.devices;
    // The coherent memory of a device is there from the start, as one chunk.
    const device =
      at < 0
        ? DmirrorDevice.create(context, i, devicePages, chunkPages, aperture)
        : DmirrorDevice.create(
            context,
            COHERENT_MINOR + at,
            coherentPages,
            coherentPages,
            aperture,
            plan.ramPages + at * coherentPages,
          );
    if (typeof device === 'number') return device;
    devices.push(device);
  }
  return devices;
}

function planMachine(options: MachineOptions): Plan | OpenFailure {
  const ramBytes = options.ramBytes ?? 256 * MIB;
  const deviceBytes = options.deviceBytes ?? 64 * MIB;
  const chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
  const devices = options.devices ?? 2;
  if (!isSize(ramBytes, MIB, MAX_RAM_BYTES)) {
    return failure(errno.EINVAL, `RAM of ${ramBytes} bytes`, 'give 1 MiB to 4 GiB');
  }
  if (!isSize(deviceBytes, PAGE_SIZE, MAX_RAM_BYTES)) {
    return failure(errno.EINVAL, `device memory of ${deviceBytes} bytes`, 'give 4 KiB to 4 GiB');
  }
  if (!isSize(chunkBytes, PAGE_SIZE, MAX_RAM_BYTES)) {
    return failure(errno.EINVAL, `chunks of ${chunkBytes} bytes`, 'give 4 KiB to 4 GiB');
  }
  if (!Number.isInteger(devices) || devices < 1 || devices > MAX_DEVICES) {
    return failure(errno.EINVAL, `${devices} devices`, `give 1 to ${MAX_DEVICES}`);
  }
  if (options.thp !== undefined && !Object.hasOwn(THP_MODES, options.thp)) {
    return failure(errno.EINVAL, `thp ${options.thp as string}`, 'give never, madvise or always');
  }
  const { ringDepth = 1 } = options;
  if (!Number.isInteger(ringDepth) || ringDepth < 1 || ringDepth > MAX_RING_DEPTH) {
    return failure(errno.EINVAL, `rings of ${ringDepth} slots`, `give 1 to ${MAX_RING_DEPTH}`);
  }
  const { maxArenaBytes = PAGE_SIZE } = options;
  if (!isSize(maxArenaBytes, PAGE_SIZE, Number.MAX_SAFE_INTEGER)) {
    // Arenas of no page would never be enough.
    return failure(errno.EINVAL, `arenas of ${maxArenaBytes} bytes`, 'give 4 KiB or more');
  }
  const engine = options.engine ?? 'webgpu';
  if (engine !== 'webgpu' && engine !== 'cpu') {
    return failure(errno.EINVAL, `engine ${String(engine)}`, 'give webgpu or cpu');
  }
  const ramPages = bytesToPages(Math.ceil(ramBytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES);
  const coherent = planCoherent(options, ramPages, deviceBytes, devices);
  if ('remedy' in coherent) return coherent;
  const { coherentDevices, coherentPages, hostFrames } = coherent;
  const devicePages = bytesToPages(deviceBytes);
  const vramFrames = devices * devicePages + (devices + coherentDevices) * APERTURE_PAGES;
  if (hostFrames + vramFrames > PFN_LIMIT) {
    return failure(errno.EINVAL, 'RAM and device memory exceed 32 GiB', 'ask for less');
  }
  const leastChunk = smallestChunk(devices, devicePages, coherentDevices);
  let chunkPages = bytesToPages(chunkBytes);
  if (options.chunkBytes === undefined) chunkPages = Math.max(chunkPages, leastChunk);
  if (chunkPages < leastChunk) {
    const remedy = `give at least ${leastChunk * PAGE_SIZE} bytes`;
    return failure(errno.EINVAL, `chunks of ${chunkBytes} bytes are too many`, remedy);
  }
  return {
    ramPages,
    devicePages,
    devices,
    chunkPages,
    coherentDevices,
    coherentPages,
    geometry: { hostFrames, vramFrames },
  };
}

/** Coherent memory comes in the shared memory behind RAM, which can have 4 GiB in all. */
function planCoherent(
  options: MachineOptions,
  ramPages: number,
  deviceBytes: number,
  devices: number,
): (Pick<Plan, 'coherentDevices' | 'coherentPages'> & { hostFrames: number }) | OpenFailure {
  const coherentBytes = options.coherentBytes ?? Math.min(deviceBytes, DEFAULT_COHERENT_BYTES);
  if (!isSize(coherentBytes, PAGE_SIZE, MAX_RAM_BYTES)) {
    const cause = `coherent memory of ${coherentBytes} bytes`;
    return failure(errno.EINVAL, cause, 'give 4 KiB to 4 GiB');
  }
  const coherentPages = bytesToPages(coherentBytes);
  const fits = (count: number): boolean =>
    (ramPages + count * coherentPages) * PAGE_SIZE <= MAX_RAM_BYTES;
  const isUsual = devices === COHERENT_MINOR && fits(MAX_COHERENT_DEVICES);
  const coherentDevices = options.coherentDevices ?? (isUsual ? MAX_COHERENT_DEVICES : 0);
  const isCount = Number.isInteger(coherentDevices) && coherentDevices >= 0;
  if (!isCount || coherentDevices > MAX_COHERENT_DEVICES) {
    const cause = `${coherentDevices} coherent devices`;
    return failure(errno.EINVAL, cause, `give 0 to ${MAX_COHERENT_DEVICES}`);
  }
  if (coherentDevices > 0 && devices > COHERENT_MINOR) {
    const cause = `${devices} private devices beside coherent ones, which are devices 2 and 3`;
    return failure(errno.EINVAL, cause, `give at most ${COHERENT_MINOR}`);
  }
  if (!fits(coherentDevices)) {
    return failure(errno.EINVAL, 'RAM and coherent memory exceed 4 GiB', 'ask for less');
  }
  const hostBytes = (ramPages + coherentDevices * coherentPages) * PAGE_SIZE;
  const hostFrames = bytesToPages(Math.ceil(hostBytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES);
  return { coherentDevices, coherentPages, hostFrames };
}

function reserveMemory(plan: Plan): System | OpenFailure {
  if (typeof SharedArrayBuffer === 'undefined') {
    return failure(
      errno.ENODEV,
      'this page is not cross-origin isolated, so there is no shared memory',
      'serve it with COOP same-origin and COEP require-corp, or let its service worker do that',
    );
  }
  const { hostFrames } = plan.geometry;
  const ram = reserveRam(hostFrames * PAGE_SIZE);
  if (ram === null) {
    const cause = `the host refused ${hostFrames * PAGE_SIZE} bytes of RAM`;
    return failure(errno.ENOMEM, cause, 'ask for less RAM');
  }
  const sys = createSystem({
    ramBytes: plan.ramPages * PAGE_SIZE,
    ram,
    coherentPages: hostFrames - plan.ramPages,
    devicePages: plan.devices * plan.devicePages,
  });
  if (typeof sys === 'number') {
    return failure(sys, 'the host refused the memory for page state', 'ask for less RAM');
  }
  return sys;
}

/** RAM is a shared WebAssembly.Memory of fixed size: a grown one would get another buffer. */
function reserveRam(ramBytes: number): SharedArrayBuffer | null {
  const pages = ramBytes / WASM_PAGE_BYTES;
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    return memory.buffer as unknown as SharedArrayBuffer;
  } catch {
    return null;
  }
}

async function openEngine(
  options: MachineOptions,
  plan: Plan,
  sys: System,
  hostCopiers: CopyCrew | undefined,
): Promise<CopyEngine | OpenFailure> {
  const { geometry } = plan;
  if (options.engine === 'cpu') return new CpuEngine({ ram: sys.ram, geometry, hostCopiers });
  const engine = await createWebGpuEngine({
    ram: sys.ram,
    geometry,
    hostCopiers,
    powerPreference: options.powerPreference,
    maxArenaBytes: options.maxArenaBytes,
    lanes: options.ringDepth,
    checked: options.checked ?? true,
  });
  if (!('remedy' in engine)) await engine.calibrate(scratchFrames(plan, sys));
  return engine;
}

/** The last pages of RAM and the first of VRAM, as long as nobody has either. */
function scratchFrames({ ramPages, geometry }: Plan, sys: System): Scratch {
  let hostFrame = ramPages;
  const least = Math.max(0, ramPages - SCRATCH_FRAMES);
  while (hostFrame > least && sys.mem.refcount[hostFrame - 1] === 0) hostFrame--;
  const frames = Math.min(ramPages - hostFrame, geometry.vramFrames);
  return { hostFrame, vramFrame: geometry.hostFrames, frames };
}

function isSize(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}

function failure(code: number, cause: string, remedy: string): OpenFailure {
  return { errno: code, cause, remedy };
}
