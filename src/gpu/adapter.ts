/*
 * Finding an adapter and opening its device.
 *
 * Promises. Adapter and device are asked for as one unit and again after a pause, because in a
 * worker of Chromium 147 `requestAdapter` answers null while the GPU process is still starting, and
 * an adapter obtained shortly after may refuse its device. A machine without WebGPU, without
 * adapter or with too small limits is answered as data that names cause and remedy; nothing throws.
 * The report says truthfully whether graphics hardware is behind the adapter.
 *
 * Locking. None. Leaves out: choosing between several adapters beyond `powerPreference`.
 */
import { errno } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { AdapterReport } from '../engine/copy-engine.ts';
import type { EngineOpenError } from './open-error.ts';

/** Limits asked for at the adapter's own value: more of them is never worse for this engine. */
const WANTED_LIMITS = [
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
] as const;

/** Limits that only the report shows. */
const SHOWN_LIMITS = ['minStorageBufferOffsetAlignment'] as const;

/** Features used where present. */
const WANTED_FEATURES: readonly GPUFeatureName[] = ['timestamp-query', 'subgroups'];

/** Smallest binding and buffer that an arena or bounce buffer can live in: one large ring slot. */
const LEAST_BUFFER_BYTES = 1024 * PAGE_SIZE;
/** Storage buffers that a kernel of this project binds at most. */
const LEAST_STORAGE_BUFFERS = 4;

const WORKER_ATTEMPTS = 20;
const RETRY_MS = 250;

const SOFTWARE_NAMES =
  /swiftshader|llvmpipe|lavapipe|softpipe|softwarerasterizer|basic render|\bwarp\b/i;

/** What `openDevice` is asked for. */
export interface OpenDeviceOptions {
  /** The entry point; default: the one of this window, worker or process. */
  readonly gpu?: GPU | undefined;
  readonly powerPreference?: GPUPowerPreference | undefined;
  /** How often to try; default: 20 in a worker, where an early answer can be wrong, else 2. */
  readonly attempts?: number | undefined;
  /** Pause between two tries, milliseconds. */
  readonly retryMs?: number | undefined;
}

/** An open device and what it came from. */
export interface OpenedDevice {
  /**
   * The entry point. Dawn for Node aborts the process when this object is collected while a device
   * lives, so whoever holds the device holds it too.
   */
  readonly gpu: GPU;
  readonly device: GPUDevice;
  readonly report: AdapterReport;
}

/**
 * Opens a device.
 *
 * @returns the device, or an error: ENODEV without WebGPU, without adapter or with too small
 * limits, EIO when an adapter refuses its device for good
 *
 * Context: waits. Source: our own.
 */
export async function openDevice(
  options: OpenDeviceOptions,
): Promise<OpenedDevice | EngineOpenError> {
  const gpu = options.gpu ?? (globalThis.navigator as Navigator | undefined)?.gpu;
  if (gpu === undefined || gpu === null) {
    return {
      errno: errno.ENODEV,
      cause: 'This environment has no WebGPU.',
      remedy:
        'Use a browser with WebGPU (Chrome, Edge, Safari 26 or Firefox 141) over HTTPS, ' +
        "or engine: 'cpu', which runs everywhere.",
    };
  }
  const attempts = options.attempts ?? (isWorker() ? WORKER_ATTEMPTS : 2);
  let failure: EngineOpenError | undefined;
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await pause(options.retryMs ?? RETRY_MS);
    const opened = await tryOnce(gpu, options.powerPreference);
    if ('device' in opened) return opened;
    failure = opened;
    if (failure.errno === errno.EINVAL) break;
  }
  // EINVAL marks "limits too small", which no retry can change; to callers it is a missing device.
  return {
    ...(failure ?? noAdapter()),
    errno: failure?.errno === errno.EIO ? errno.EIO : errno.ENODEV,
  };
}

/** True for adapters that compute on the CPU; `isFallbackAdapter` alone misses some. */
export function isSoftwareAdapter(info: GPUAdapterInfo): boolean {
  const flag = (info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
  const names = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return flag || SOFTWARE_NAMES.test(names);
}

/** Which limit of an adapter is too small for this engine, or an empty string. */
export function missingLimit(limits: GPUSupportedLimits): string {
  const least = {
    maxStorageBufferBindingSize: LEAST_BUFFER_BYTES,
    maxBufferSize: LEAST_BUFFER_BYTES,
  };
  for (const [name, bytes] of Object.entries(least)) {
    const offered = limits[name as keyof typeof least];
    if (offered < bytes) return `${name} is ${offered}, ${bytes} are needed`;
  }
  if (limits.maxStorageBuffersPerShaderStage < LEAST_STORAGE_BUFFERS) {
    const offered = limits.maxStorageBuffersPerShaderStage;
    return `maxStorageBuffersPerShaderStage is ${offered}, ${LEAST_STORAGE_BUFFERS} are needed`;
  }
  return '';
}

async function tryOnce(
  gpu: GPU,
  powerPreference: GPUPowerPreference | undefined,
): Promise<OpenedDevice | EngineOpenError> {
  try {
    const adapter = await gpu.requestAdapter(powerPreference ? { powerPreference } : {});
    if (adapter === null) return noAdapter();
    const missing = missingLimit(adapter.limits);
    if (missing !== '') {
      return {
        errno: errno.EINVAL,
        cause: `The limits of this adapter are too small: ${missing}.`,
        remedy: 'Use another adapter: set powerPreference, or update the graphics driver.',
      };
    }
    const device = await adapter.requestDevice({
      requiredLimits: wantedLimits(adapter.limits),
      requiredFeatures: WANTED_FEATURES.filter((name) => adapter.features.has(name)),
    });
    return { gpu, device, report: describe(adapter, device) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      errno: errno.EIO,
      cause: `The adapter refused a device: ${reason}`,
      remedy: 'Close other programs that use the GPU, restart the browser, or update the driver.',
    };
  }
}

function noAdapter(): EngineOpenError {
  return {
    errno: errno.ENODEV,
    cause: 'WebGPU is here but offers no adapter.',
    remedy:
      'In a browser, enable hardware acceleration, update the graphics driver, or start it with ' +
      '--enable-unsafe-webgpu to allow a software adapter. In Node, install a Vulkan driver ' +
      "(Mesa's lavapipe is one in software). Without either, engine: 'cpu' runs everywhere.",
  };
}

function wantedLimits(offered: GPUSupportedLimits): Record<string, number> {
  const wanted: Record<string, number> = {};
  for (const name of WANTED_LIMITS) wanted[name] = offered[name];
  return wanted;
}

function describe(adapter: GPUAdapter, device: GPUDevice): AdapterReport {
  const { info } = adapter;
  const limits: Record<string, number> = {};
  for (const name of [...WANTED_LIMITS, ...SHOWN_LIMITS]) limits[name] = device.limits[name];
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    isSoftware: isSoftwareAdapter(info),
    limits,
    features: [...device.features].sort(),
  };
}

function isWorker(): boolean {
  return 'WorkerGlobalScope' in globalThis;
}

/** Waits so long. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
