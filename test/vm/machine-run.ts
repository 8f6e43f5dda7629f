/*
 * Kernels over the memory of a process: the machine's own engine moves the pages, an engine for
 * kernels works on the same frames.
 */
import { MAP_SHARED, PROT_READ, PROT_WRITE, bootMachine } from '../../src/index.ts';
import type { LocalMachine, MachineOptions, Process } from '../../src/index.ts';
import { Dmirror } from '../../src/driver/dmirror.ts';
import { MachinePager } from '../../src/driver/machine-pager.ts';
import { launchUnder } from '../../src/driver/launch-under.ts';
import { ServicePager } from '../../src/driver/service-pager.ts';
import type { ServicePagerOptions } from '../../src/driver/service-options.ts';
import { CpuEngine } from '../../src/engine/cpu-engine.ts';
import type { CopyEngine } from '../../src/engine/copy-engine.ts';
import { CpuVmEngine } from '../../src/engine/vm/cpu-vm.ts';
import { DeviceSpace } from '../../src/engine/vm/device-space.ts';
import type { FaultBatch, LaunchReport, LaunchRequest } from '../../src/engine/vm/launch.ts';
import { launchKernel } from '../../src/engine/vm/launch.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import type { VmEngine, VmProgramOptions } from '../../src/engine/vm/vm-engine.ts';
import { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { GpuVmEngine } from '../../src/gpu/vm/gpu-vm.ts';

const KIB = 1024;
let contexts = 0;

/** A machine with a process whose device runs kernels. */
export interface MachineRig {
  readonly machine: LocalMachine;
  readonly process: Process;
  readonly mirror: Dmirror;
  readonly engine: VmEngine;
  readonly firstFrame: number;
}

/** Boots a machine; `devicePages` frames of device memory; kernels run on device `minor`. */
export async function openMachineRig(
  engine: 'cpu' | 'webgpu',
  devicePages: number,
  minor = 0,
  more: MachineOptions = {},
): Promise<MachineRig> {
  const bytes = devicePages * 4 * KIB;
  const options: MachineOptions = {
    engine,
    ramBytes: 8 * KIB * KIB,
    deviceBytes: bytes,
    chunkBytes: bytes,
    ...more,
  };
  const machine = await bootMachine(options);
  const process = await machine.spawn();
  const { kernel } = machine;
  const { hostFrames } = kernel.engine.geometry;
  const mirror = openMirror(machine, minor);
  return { machine, process, mirror, engine: kernelsOver(kernel.engine), firstFrame: hostFrames };
}

/** Another process with the same device. */
export async function besides(rig: MachineRig): Promise<MachineRig> {
  const process = await rig.machine.spawn();
  return { ...rig, process, mirror: openMirror(rig.machine, 0) };
}

/** Opens a device for the process that was made last. */
function openMirror({ kernel }: LocalMachine, minor: number): Dmirror {
  const mm = [...kernel.sys.mms].at(-1)!;
  const device = kernel.devices.find((one) => one.minor === minor)!;
  const mirror = Dmirror.open(device, mm);
  if (typeof mirror === 'number') throw new Error(`open ${mirror}`);
  return mirror;
}

/** An engine for kernels on the frames of a copy engine. */
export function kernelsOver(engine: CopyEngine): VmEngine {
  const frames = engine.geometry.vramFrames;
  if (engine instanceof CpuEngine) return new CpuVmEngine(frames, 5, engine.vramWords);
  if (engine instanceof WebGpuEngine) {
    return new GpuVmEngine(engine.device, frames, engine.vram.arenas[0]);
  }
  throw new Error(`no kernels over ${engine.name}`);
}

/** Maps a case's memory in the process, or of a file; answers its address. */
export async function mapCase(rig: MachineRig, one: VmCase, fd = -1): Promise<number> {
  const request = { length: one.bytes.length, prot: PROT_READ | PROT_WRITE };
  const flags = MAP_SHARED;
  const addr = await rig.process.mmap(fd < 0 ? request : { ...request, flags, fd });
  await rig.process.write(addr, one.bytes);
  return addr;
}

/** Runs a case whose address 0 is `addr`, with something done after each batch. */
export async function runOnMachine(
  rig: MachineRig,
  one: VmCase,
  addr: number,
  between: (batch: FaultBatch, pager: MachinePager) => Promise<void> | void = () => {},
  request: Partial<LaunchRequest> & { readonly options?: Partial<VmProgramOptions> } = {},
): Promise<{ report: LaunchReport; pager: MachinePager }> {
  const space = new DeviceSpace((contexts += 1));
  const pager = new MachinePager(rig.mirror, space, addr - one.base, rig.firstFrame);
  const program = await rig.engine.compile(one.kernel, {
    slots: 4,
    hash: true,
    ...request.options,
  });
  if ('problems' in program) throw new Error(JSON.stringify(program.problems));
  const report = await launchKernel(program, {
    space,
    workgroups: one.workgroups,
    args: one.args,
    pager: async (batch) => {
      const goesOn = await pager.serve(batch);
      await between(batch, pager);
      return goesOn;
    },
    onSubmitted: () => pager.passSubmitted(),
    around: pager.aperture,
    ...request,
  });
  pager.close();
  rig.engine.drop(space);
  return { report, pager };
}

/** What a run under a policy is made with, and what happens after each batch. */
export interface ServedOptions extends ServicePagerOptions {
  readonly slots?: number;
  readonly program?: Partial<VmProgramOptions>;
  readonly between?: (batch: FaultBatch, pager: ServicePager) => Promise<void> | void;
  readonly request?: Partial<LaunchRequest>;
}

/** Runs a case whose address 0 is `addr` under a policy, all bookkeeping checked. */
export async function runServed(
  rig: MachineRig,
  one: VmCase,
  addr: number,
  options: ServedOptions,
): Promise<{ report: LaunchReport; pager: ServicePager }> {
  const space = new DeviceSpace(1);
  const { slots = 4, between, request } = options;
  const pager = new ServicePager(rig.mirror, space, addr - one.base, rig.firstFrame, {
    checks: true,
    ...options,
  });
  const program = await rig.engine.compile(one.kernel, { slots, hash: true, ...options.program });
  if ('problems' in program) throw new Error(JSON.stringify(program.problems));
  const { workgroups, args } = one;
  const serve = pager.serve.bind(pager);
  pager.serve = async (batch) => {
    const answer = await serve(batch);
    // While pages are lent nobody else gets at the address space.
    if (answer !== 'hold') await between?.(batch, pager);
    return answer;
  };
  const report = await launchUnder(pager, program, { space, workgroups, args, ...request });
  pager.close();
  rig.engine.drop(space);
  return { report, pager };
}
