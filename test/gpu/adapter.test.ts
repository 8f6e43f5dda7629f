/*
 * Opening a device: retries, the reasons for a refusal, and the honesty of the report. Adapters are
 * played by plain objects; the last test takes the real one.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { isSoftwareAdapter, missingLimit, openDevice } from '../../src/gpu/adapter.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';

const LIMITS = {
  maxStorageBufferBindingSize: 2 ** 27,
  maxBufferSize: 2 ** 28,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeWorkgroupsPerDimension: 65535,
  minStorageBufferOffsetAlignment: 256,
};

const INFO = { vendor: 'acme', architecture: 'fast-1', device: 'card', description: 'Acme Card' };

/** A WebGPU entry point whose answers are scripted; it records what was asked for. */
function fakeGpu(answers: readonly ('none' | 'refuse' | 'device')[], limits = LIMITS) {
  const asked = { adapters: 0, descriptors: [] as GPUDeviceDescriptor[], options: [] as unknown[] };
  const features = new Set(['timestamp-query', 'shader-f16']);
  const gpu = {
    async requestAdapter(options: unknown) {
      const answer = answers[Math.min(asked.adapters, answers.length - 1)];
      asked.adapters += 1;
      asked.options.push(options);
      if (answer === 'none') return null;
      return {
        limits,
        features,
        info: INFO,
        async requestDevice(descriptor: GPUDeviceDescriptor) {
          asked.descriptors.push(descriptor);
          if (answer === 'refuse') throw new Error('not now');
          return { limits, features };
        },
      };
    },
  } as unknown as GPU;
  return { gpu, asked };
}

/** Whether a value is an error of this number whose texts contain these words. */
function isError(code: number, cause: string, remedy: string) {
  return (value: object): boolean =>
    isEngineOpenError(value) &&
    value.errno === code &&
    value.cause.includes(cause) &&
    value.remedy.includes(remedy);
}

describe('openDevice', () => {
  it('opens at once where adapter and device are there', async () => {
    const { gpu, asked } = fakeGpu(['device']);
    const opened = await openDevice({ gpu });
    expect(isEngineOpenError(opened)).toBe(false);
    expect(asked.adapters).toBe(1);
  });

  it('asks for the limits of the adapter and for the features that it has', async () => {
    const { gpu, asked } = fakeGpu(['device']);
    await openDevice({ gpu, powerPreference: 'low-power' });
    expect(asked.options).toEqual([{ powerPreference: 'low-power' }]);
    expect(asked.descriptors[0]?.requiredLimits).toMatchObject({
      maxStorageBufferBindingSize: 2 ** 27,
      maxBufferSize: 2 ** 28,
      maxStorageBuffersPerShaderStage: 8,
    });
    expect(asked.descriptors[0]?.requiredFeatures).toEqual(['timestamp-query']);
  });

  it('asks again for adapter and device as a unit: null first, then a refused device', async () => {
    const { gpu, asked } = fakeGpu(['none', 'refuse', 'device']);
    const opened = await openDevice({ gpu, attempts: 20, retryMs: 1 });
    expect(isEngineOpenError(opened)).toBe(false);
    expect(asked.adapters).toBe(3);
  });

  it('gives up after the attempts, with ENODEV where there never was an adapter', async () => {
    const { gpu, asked } = fakeGpu(['none']);
    const opened = await openDevice({ gpu, attempts: 4, retryMs: 1 });
    expect(asked.adapters).toBe(4);
    expect(opened).toSatisfy(isError(errno.ENODEV, 'no adapter', 'hardware acceleration'));
  });

  it('gives up with EIO where the adapter refuses its device for good', async () => {
    const { gpu } = fakeGpu(['refuse']);
    const opened = await openDevice({ gpu, attempts: 2, retryMs: 1 });
    expect(opened).toSatisfy(isError(errno.EIO, 'not now', 'driver'));
  });

  it('says that there is no WebGPU where there is none', async () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator')!;
    Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
    try {
      expect(await openDevice({})).toSatisfy(isError(errno.ENODEV, 'no WebGPU', 'browser'));
    } finally {
      Object.defineProperty(globalThis, 'navigator', before);
    }
  });

  it('names a limit that is too small, and does not try again', async () => {
    const small = { ...LIMITS, maxStorageBufferBindingSize: 2 ** 22 - 1 };
    const { gpu, asked } = fakeGpu(['device'], small);
    const opened = await openDevice({ gpu, attempts: 5, retryMs: 1 });
    expect(asked.adapters).toBe(1);
    expect(opened).toSatisfy(
      isError(
        errno.ENODEV,
        'maxStorageBufferBindingSize is 4194303, 4194304 are needed',
        'adapter',
      ),
    );
    const enough = fakeGpu(['device'], { ...LIMITS, maxStorageBufferBindingSize: 2 ** 22 });
    expect(isEngineOpenError(await openDevice({ gpu: enough.gpu }))).toBe(false);
  });

  it('opens the real adapter and reports it', async () => {
    const opened = await openDevice({});
    if (isEngineOpenError(opened)) throw new Error(opened.cause);
    const { report, device } = opened;
    expect(report.vendor).not.toBe('');
    expect(report.limits['maxBufferSize']).toBe(device.limits.maxBufferSize);
    expect(report.features).toEqual([...device.features].sort());
    expect(device.limits.maxStorageBufferBindingSize).toBeGreaterThanOrEqual(2 ** 27);
    device.destroy();
  });
});

describe('missingLimit', () => {
  const limits = (change: Partial<typeof LIMITS>): GPUSupportedLimits =>
    ({ ...LIMITS, ...change }) as unknown as GPUSupportedLimits;

  it('accepts the defaults of the specification', () => {
    expect(missingLimit(limits({}))).toBe('');
  });

  it('names each limit that matters, on both sides of its boundary', () => {
    expect(missingLimit(limits({ maxBufferSize: 2 ** 22 - 1 }))).toContain('maxBufferSize');
    expect(missingLimit(limits({ maxBufferSize: 2 ** 22 }))).toBe('');
    const name = 'maxStorageBuffersPerShaderStage';
    expect(missingLimit(limits({ [name]: 3 }))).toContain(name);
    expect(missingLimit(limits({ [name]: 4 }))).toBe('');
  });
});

describe('isSoftwareAdapter', () => {
  const info = (change: object): GPUAdapterInfo => ({ ...INFO, ...change }) as GPUAdapterInfo;

  it.each([
    { isFallbackAdapter: true },
    { architecture: 'swiftshader' },
    { device: 'llvmpipe (LLVM 15.0.6, 256 bits)' },
    { description: 'lavapipe' },
    { description: 'Microsoft Basic Render Driver' },
    { architecture: 'warp' },
  ])('true for %j', (change) => {
    expect(isSoftwareAdapter(info(change))).toBe(true);
  });

  it.each([
    {},
    { isFallbackAdapter: false },
    { vendor: 'nvidia', architecture: 'hopper', description: 'NVIDIA H200' },
    { vendor: 'intel', architecture: 'gen-12lp' },
    { vendor: 'apple', architecture: 'metal-3' },
    // A word that merely contains the name of a software adapter.
    { description: 'Warpdrive 9000' },
  ])('false for %j', (change) => {
    expect(isSoftwareAdapter(info(change))).toBe(false);
  });
});
