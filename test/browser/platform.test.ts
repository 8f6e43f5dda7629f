/*
 * What the project `chromium` promises to every browser test.
 */
import { expect, test } from 'vitest';

test('the page is cross-origin isolated', () => {
  expect(crossOriginIsolated).toBe(true);
  expect(new SharedArrayBuffer(8).byteLength).toBe(8);
});

test('the language is a valid one, which uPlot and Intl need', () => {
  expect(navigator.language).toBe('en-US');
  expect(new Intl.NumberFormat(navigator.language).format(1.5)).toBe('1.5');
});

test('the page gets a WebGPU device', async () => {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter?.requestDevice();
  expect(device?.limits.maxBufferSize).toBeGreaterThanOrEqual(2 ** 28);
  device?.destroy();
});
