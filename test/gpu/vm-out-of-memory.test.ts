/*
 * A launch that the device has no memory for ends with ENOMEM, alone: the machine's copies, which
 * use the same device, hear of no error, and the next launch works.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestContext } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import { BackingPager } from '../../src/engine/vm/backing-pager.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { LaunchReport } from '../../src/engine/vm/launch.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { isEngineOpenError } from '../../src/gpu/open-error.ts';
import { createWebGpuEngine } from '../../src/gpu/webgpu-engine.ts';

const HOST = 256;
const VRAM = 128;
/** Frames that copies go to; kernels have those before. */
const COPIES = 64;
const LANES = 32;
const WORKGROUPS = 8;
const ROUNDS = 24;
const BASE = 0x4000_0000;
const WORDS = WORKGROUPS * LANES * ROUNDS;

/** Adds 1 to words far from each other: each invocation needs more log from round to round. */
const WGSL = `
fn kernel(wg: u32, lid: u32) {
  for (var i = 0u; i < ${ROUNDS}u; i++) {
    let at = vm_arg(0u) + (i * ${WORKGROUPS * LANES}u + wg * ${LANES}u + lid) * 4u;
    vm_store(at, vm_load(at) + 1u);
  }
}`;

describe('a launch without memory', () => {
  let copies: WebGpuEngine;
  let engine: GpuVmEngine;
  let words: Uint32Array;
  let uncaptured = 0;

  beforeAll(async () => {
    const geometry = { hostFrames: HOST, vramFrames: VRAM };
    const ram = new Uint8Array(new SharedArrayBuffer(HOST * 4096));
    words = new Uint32Array(ram.buffer);
    const opened = await createWebGpuEngine({ ram, geometry, checked: true });
    if (isEngineOpenError(opened)) throw new Error(opened.cause);
    copies = opened;
    engine = new GpuVmEngine(copies.device, COPIES, copies.vram.arenas[0]);
    copies.device.addEventListener('uncapturederror', () => uncaptured++);
  });
  afterAll(async () => {
    engine.destroy();
    await copies.close();
  });

  /** Makes a buffer's creation fail as it does on a full device: it asks for far too much. */
  function withoutRoomFor(label: string, times: number): { failed: number } & Disposable {
    const { device } = copies;
    const real = device.createBuffer.bind(device);
    const state = { seen: 0, failed: 0 };
    device.createBuffer = (descriptor) => {
      if (descriptor.label !== label || ++state.seen < times) return real(descriptor);
      state.failed++;
      return real({ ...descriptor, size: device.limits.maxBufferSize });
    };
    return Object.assign(state, { [Symbol.dispose]: () => void (device.createBuffer = real) });
  }

  /** Whether so large a buffer really is too much here. */
  async function skipsWhereThereIsRoom({ skip }: TestContext): Promise<void> {
    const { device } = copies;
    device.pushErrorScope('out-of-memory');
    const buffer = device.createBuffer({ size: device.limits.maxBufferSize, usage: 0x88 });
    const error = await device.popErrorScope();
    buffer.destroy();
    if (error === null) skip('this device has room for its largest buffer');
  }

  /** Runs the kernel with little memory, while pages are copied there and back. */
  async function play(): Promise<{ report: LaunchReport; sums: number; copied: number }> {
    const bytes = new Uint8Array(WORDS * 4);
    const space = new DeviceSpace(1);
    const kernel = { name: 'steps', lanes: LANES, wgsl: WGSL };
    // Room for all slots at first, and for half of them when logs have grown.
    const memoBytes = 4 * (WORKGROUPS * (1 + 4 * LANES) + WORKGROUPS * LANES * 12);
    const program = await engine.compile(kernel, { slots: WORKGROUPS, logWords: 4, memoBytes });
    if ('problems' in program) throw new Error(JSON.stringify(program.problems));
    const pager = new BackingPager(engine, space, bytes, BASE, [0, 1, 2]);
    const state = { isOver: false, copied: 0 };
    const copying = (async () => {
      while (!state.isOver) state.copied += await copyAround();
    })();
    const report = await launchKernel(program, {
      space,
      workgroups: WORKGROUPS,
      args: [BASE],
      pager: (batch) => pager.serve(batch),
    });
    state.isOver = true;
    await copying;
    await pager.collect();
    engine.drop(space);
    return {
      report,
      sums: new Uint32Array(bytes.buffer).reduce((sum, one) => sum + one, 0),
      copied: state.copied,
    };
  }

  /** Copies pages to the device and back. @returns how many came back as they were */
  async function copyAround(): Promise<number> {
    const list = new CommandList(16);
    for (let page = 0; page < 16; page++) {
      words.fill(page + 7, page * 1024, (page + 1) * 1024);
      list.copy(page, HOST + COPIES + page);
    }
    expect(await copies.submit(list)).toBe(0);
    list.reset();
    for (let page = 0; page < 16; page++) list.copy(HOST + COPIES + page, 32 + page);
    expect(await copies.submit(list)).toBe(0);
    let right = 0;
    for (let page = 0; page < 16; page++) {
      const back = words.subarray((32 + page) * 1024, (33 + page) * 1024);
      if (back.every((word) => word === page + 7)) right++;
    }
    words.fill(0);
    return right;
  }

  async function worksAgain(): Promise<void> {
    const { report, sums } = await play();
    expect(report).toMatchObject({ outcome: 'done', finished: WORKGROUPS });
    expect([report.logGrowths > 1, report.window < WORKGROUPS, sums]).toEqual([true, true, WORDS]);
    expect([uncaptured, copies.deviceErrors]).toEqual([0, []]);
  }

  it('with memory it ends, though its logs outgrow their room', () => worksAgain());

  it.for([
    ['its states and logs', 'vm memo', 1],
    ['its page table', 'vm table 1', 1],
    ['what it hands back', 'vm readback', 1],
    ['larger logs', 'vm memo', 2],
    ['still larger logs', 'vm memo', 3],
    ['logs that are put aside', 'vm parked logs', 1],
  ] as const)('for %s: ENOMEM, and nobody else notices', async ([, label, times], context) => {
    await skipsWhereThereIsRoom(context);
    let seen = 0;
    {
      using none = withoutRoomFor(label, times);
      const { report, copied } = await play();
      seen = none.failed;
      expect(report).toMatchObject({ outcome: 'failed', errno: errno.ENOMEM });
      expect(copied).toBeGreaterThan(0);
      expect(copied % 16).toBe(0);
    }
    expect(seen).toBe(1);
    expect([uncaptured, copies.deviceErrors, copies.isLost]).toEqual([0, [], false]);
    await worksAgain();
  });
});
