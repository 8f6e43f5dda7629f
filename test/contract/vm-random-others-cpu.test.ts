/*
 * Kernels under every policy and without one, while others change the address space at random and
 * wait for nobody: CPUs that read and write, munmap and mmap, mprotect, fork, mremap, commands of
 * the device, pins, and another kernel. Oracle: the launch comes to its end, the books agree with
 * the page tables at each replay (I41), the machine's own invariants hold, and what nobody else
 * touched is what a run without faults leaves.
 */
import { describe, expect, it } from 'vitest';
import { HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from '../../src/driver/dmirror.ts';
import { HMM_DMIRROR_MIGRATE_TO_SYS } from '../../src/driver/dmirror.ts';
import { POLICIES, policyByName } from '../../src/driver/policy/policies.ts';
import type { PolicyName } from '../../src/driver/policy/policies.ts';
import { arg, at, GID, kernelOf, load, op, reduce, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import {
  ErrnoError,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MREMAP_MAYMOVE,
  Prng,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { openMachineRig, runOnMachine, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';

const BASE = 0x20_0000;
const PAGE = 4096;
const GROUPS = 96;
/** Pages that others change, and behind them those of the kernel alone. */
const COMMON = 32;
const RW = PROT_READ | PROT_WRITE;
const WAYS: readonly (PolicyName | 'no policy')[] = [...POLICIES, 'no policy'];
const SEEDS = Number(process.env['WEBHMM_VM_OTHERS'] ?? 1);

/** Each workgroup reads and writes in common pages, counts, and stores to a page of its own. */
function commonCase(): VmCase {
  const common = (by: number): ReturnType<typeof at> =>
    at(arg(0), op(op(op(GID, '*', by), '%', COMMON), '*', 1024));
  const body = [
    reduce('add', common(1), 1),
    load('x', common(7)),
    store(common(5), v('x')),
    store(at(arg(1), op(GID, '*', 1024)), op(GID, '+', 1)),
  ];
  const to = new CaseBuilder(BASE, 1);
  to.array(COMMON * 1024);
  to.array(GROUPS * 1024);
  return to.build('common', kernelOf('common', 1, body, 1), GROUPS);
}

/** Others, one operation after the other, each begun without waiting for the pager. */
class Others {
  readonly done: string[] = [];
  isOver = false;
  private readonly rig: MachineRig;
  private readonly addr: number;
  private readonly prng: Prng;
  private readonly children: MachineRig['process'][] = [];

  constructor(rig: MachineRig, addr: number, seed: number) {
    this.rig = rig;
    this.addr = addr;
    this.prng = new Prng(seed);
  }

  async run(): Promise<void> {
    for (let i = 0; i < 150 && !this.isOver; i++) {
      await this.step().catch(isErrno);
      for (let turns = this.prng.below(3); turns > 0; turns--) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    for (const child of this.children) await child.exit();
  }

  private async step(): Promise<void> {
    const { rig, addr, prng } = this;
    const { process, mirror } = rig;
    const page = prng.below(COMMON);
    const pages = 1 + prng.below(COMMON - page);
    const from = addr + page * PAGE;
    const length = pages * PAGE;
    const what = prng.below(10);
    this.done.push(`${what} ${page} ${pages}`);
    switch (what) {
      case 0:
        await process.read(from, 4).catch(isSignal);
        return;
      case 1:
        await process.write(from + 64, Uint8Array.of(1)).catch(isSignal);
        return;
      case 2:
        await process.munmap(from, length);
        return this.map(from, length);
      case 3:
        await process.mprotect(from, length, prng.below(2) === 0 ? PROT_NONE : PROT_READ);
        await process.read(addr + prng.below(COMMON) * PAGE, 4).catch(isSignal);
        await process.mprotect(from, length, RW);
        return;
      case 4:
        if (this.children.length < 3) this.children.push(await process.fork());
        else await this.children.pop()!.exit();
        return;
      case 5:
        await mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd(from, pages, 0));
        return;
      case 6:
        await mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_SYS, newDmirrorCmd(from, pages, 0));
        return;
      case 7: {
        const pin = await process.pinUserPages(from, 1).catch(() => null);
        await new Promise((resolve) => setImmediate(resolve));
        await pin?.release();
        return;
      }
      case 8:
        // Away and back again: other addresses, then these anew.
        await process.mremap(from, PAGE, PAGE, MREMAP_MAYMOVE);
        return;
      default:
        await this.evict(prng.below(Math.min(16, mirror.device.memory.capacityPages)));
    }
  }

  /** What others that need room do. */
  private async evict(frame: number): Promise<void> {
    const { device, mm } = this.rig.mirror;
    const pfn = device.memory.startPfn + frame;
    if (mm.sys.mem.refcount[pfn] !== 0) await device.evictPage(pfn);
  }

  private async map(addr: number, length: number): Promise<void> {
    const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
    await this.rig.process.mmap({ addr, length, prot: RW, flags });
  }
}

/** Another one has just taken away what a call is about. */
function isErrno(error: unknown): void {
  expect(error).toBeInstanceOf(ErrnoError);
}

/** What a CPU gets for memory that it may not use just now. */
function isSignal(error: unknown): void {
  expect(String(error)).toMatch(/SIGSEGV|SIGBUS/);
}

describe('others at random while a kernel runs', { timeout: 120_000 }, () => {
  it.each(WAYS)('%s', async (way) => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      for (const devicePages of [4, 24, 256]) {
        const what = `${way}, seed ${seed}, ${devicePages} pages`;
        const rig = await openMachineRig('cpu', devicePages, 0, { ramBytes: 16 * 2 ** 20 });
        const one = commonCase();
        const addr = await rig.process.mmap({ length: one.bytes.length, prot: RW });
        await rig.process.write(addr, one.bytes);
        const all = [1, 2, 3].map((i) => new Others(rig, addr, seed * 10 + i));
        const running = Promise.all(all.map((others) => others.run()));
        const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
        const request = { window: 2, between: turn };
        const { report } =
          way === 'no policy'
            ? await runOnMachine(rig, one, addr, undefined, request)
            : await runServed(rig, one, addr, { policy: policyByName(way), request });
        for (const others of all) others.isOver = true;
        await running;
        const done = all.flatMap((others) => others.done);
        // Memory that is away for a moment ends who reaches for it then.
        expect(report.outcome, `${what}: ${done.join(', ')}`).toBe('done');
        expect(rig.mirror.device.kept.all().length, what).toBe(0);
        expect(done.length, what).toBeGreaterThan(3);
        let missing = 0;
        for (let i = 0; i < GROUPS; i++) {
          const bytes = await rig.process.read(addr + (COMMON + i) * PAGE, 4);
          const word = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
          if (word === 0) missing++;
          else expect(word, what).toBe(i + 1);
        }
        expect(missing, what).toBe(report.killed);
        await rig.process.exit();
        expect(rig.mirror.device.memory.pagesInUse, what).toBe(0);
        await rig.machine.close();
      }
    }
  });
});
