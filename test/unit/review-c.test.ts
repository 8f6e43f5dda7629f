import { expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/base/units.ts';
import { Prng } from '../../src/base/prng.ts';
import { dptPfn, DPT_WRITE } from '../../src/driver/device-page-table.ts';
import { ptePfn, ptePresent, pteWrite, isWritableLeaf } from '../../src/mm/swapops.ts';
import { MAP_SHARED, MAP_ANONYMOUS, MAP_PRIVATE, bootMachine } from '../../src/index.ts';
import type { LocalMachine, Process, TestDevice } from '../../src/index.ts';
import { RW, MIB } from './driver/rig.ts';

function check(machine: LocalMachine): string[] {
  const bad: string[] = [];
  const { sys } = machine.kernel;
  for (const device of machine.kernel.devices) for (const mirror of device.mirrors) {
    mirror.pageTable.forEach((page, entry) => {
      const at = sys.pageTables.pteOffset(mirror.mm.pgd, page * PAGE_SIZE);
      const pte = at === 0 ? 0 : sys.pageTables.words[at]!;
      if (ptePfn(pte) !== dptPfn(entry)) bad.push(`device has ${dptPfn(entry)}, cpu ${ptePfn(pte)}`);
      const w = ptePresent(pte) ? pteWrite(pte) : isWritableLeaf(pte);
      if ((entry & DPT_WRITE) !== 0 && !w) bad.push(`write without right`);
    });
  }
  for (let pfn = 0; pfn < sys.mem.pageCount; pfn++) {
    if (sys.mem.isLocked(pfn)) bad.push(`locked ${pfn}`);
    if (sys.mem.refcount[pfn]! > 0 && sys.mem.refcount[pfn]! !== sys.mem.mapcount[pfn]! + (sys.mem.isAnon(pfn) ? 0 : 1)) bad.push(`ref ${pfn} ${sys.mem.refcount[pfn]} ${sys.mem.mapcount[pfn]} anon ${sys.mem.isAnon(pfn)}`);
  }
  if (sys.mem.waitingPages) bad.push('waiters');
  for (const mm of sys.mms) if (mm.mmapLock.isLocked) bad.push('mmap lock');
  return bad;
}

const SEEDS = Number(process.env['SEEDS'] ?? 40);
test('fuzz', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const rng = new Prng(seed);
    const machine = await bootMachine({ engine: 'cpu', ramBytes: MIB * (rng.chance(0.3) ? 1 : 4), deviceBytes: 64 * PAGE_SIZE, chunkBytes: 16 * PAGE_SIZE });
    const engine = machine.kernel.engine as any;
    const submit = engine.submit.bind(engine);
    engine.submit = async (...a: unknown[]) => {
      const d = rng.below(4);
      if (d === 0) await new Promise((r) => setTimeout(r, rng.below(3)));
      else for (let i = rng.below(12); i > 0; i--) await null;
      return submit(...a);
    };
    const procs: Process[] = []; let devs: { d: TestDevice; p: Process }[] = [];
    const p0 = await machine.spawn(); procs.push(p0);
    const base = await p0.mmap({ length: 48 * PAGE_SIZE, prot: RW });
    const sh = await p0.mmap({ length: 16 * PAGE_SIZE, prot: RW, flags: MAP_SHARED | MAP_ANONYMOUS });
    const buf = await p0.mmap({ length: 64 * PAGE_SIZE, prot: RW });
    const pending = new Set<Promise<unknown>>();
    const codes: Record<string, number> = {};
    let kernelBug: unknown = null;
    const track = (q: Promise<unknown>) => { const x: Promise<unknown> = q.then((r: any) => { const k = String(r?.errno ?? 'ok'); codes[k] = (codes[k] ?? 0) + 1; }, (e) => { const k = e.code ?? e.signal ?? String(e); codes[k] = (codes[k] ?? 0) + 1; if (e.name === 'KernelBug' || e instanceof TypeError) kernelBug ??= e; }).finally(() => pending.delete(x)); pending.add(x); };
    const cmds = ['READ', 'WRITE', 'MIGRATE_TO_DEV', 'MIGRATE_TO_SYS', 'SNAPSHOT', 'ADD', 'RELEASE', 'FLAGS'] as const;
    for (let step = 0; step < 120 && kernelBug === null; step++) {
      const p = procs[rng.below(procs.length)]!;
      const shared = rng.chance(0.25);
      const n = 1 + rng.below(shared ? 8 : 24);
      const addr = shared ? sh + rng.below(8) * PAGE_SIZE : base + rng.below(24) * PAGE_SIZE;
      const op = rng.below(20);
      if (op < 9 && devs.length > 0) {
        const { d } = devs[rng.below(devs.length)]!;
        const c = cmds[rng.chance(0.8) ? rng.below(6) : rng.below(8)]!;
        track(d.tryIoctl(c, { addr, npages: c === 'FLAGS' ? rng.below(2) : n, ptr: c === 'ADD' ? 1 : rng.chance(0.3) && c.startsWith('MIG') ? 0 : buf }));
      } else if (op < 12) track(p.write(addr + rng.below(4000), new Uint8Array(n * 1000)));
      else if (op < 14) track(p.read(addr, n * PAGE_SIZE));
      else if (op === 14) track(p.munmap(addr, PAGE_SIZE * (1 + rng.below(3))));
      else if (op === 15) track(p.mprotect(addr, PAGE_SIZE * n, rng.chance(0.5) ? 1 : RW));
      else if (op === 16 && !shared) track(p.mmap({ addr, length: n * PAGE_SIZE, prot: RW, flags: MAP_PRIVATE | MAP_ANONYMOUS | 0x10 }));
      else if (op === 17 && procs.length < 4) track(p.fork().then((c) => { procs.push(c); }));
      else if (op === 18 && devs.length < 6) track(p.openDevice(rng.below(2)).then((d) => { devs.push({ d, p }); }));
      else if (op === 19) {
        if (rng.chance(0.5) && devs.length > 0) { const at = rng.below(devs.length); const { d } = devs[at]!; track(d.close()); if (rng.chance(0.3)) track(d.close()); if (rng.chance(0.7)) devs.splice(at, 1); }
        else if (rng.chance(0.5) && procs.length > 1) { const [q] = procs.splice(rng.below(procs.length), 1); track(q!.exit()); }
        else if (rng.chance(0.02)) track(machine.loseDevice());
      }
      const w = rng.below(10);
      if (w === 0) await new Promise((r) => setTimeout(r, 1));
      else if (w < 6) for (let i = rng.below(20); i > 0; i--) await null;
      if (rng.chance(0.05)) { await waitAll(pending, seed); const bad = check(machine); expect([seed, step, kernelBug, bad.slice(0, 5)]).toEqual([seed, step, null, []]); }
    }
    await waitAll(pending, seed);
    expect([seed, kernelBug, check(machine).slice(0, 5)]).toEqual([seed, null, []]);
    if (seed < 4) console.log(JSON.stringify(codes));
    const { sys } = machine.kernel; const devices = machine.kernel.devices;
    await machine.close();
    expect([seed, sys.pageTables.tablesInUse, sys.mms.size, devices.map((d) => d.memory.pagesInUse), sys.pageAllocator.freePages === sys.ramPages - 2, sys.anonVmas.filter((a) => a !== null).length, sys.inodes.filter((a) => a !== null).length]).toEqual([seed, 0, 0, [0, 0], true, 0, 0]);
  }
}, 240000);
async function waitAll(pending: Set<Promise<unknown>>, seed: number) {
  const t = setTimeout(() => { console.log('HANG seed', seed, pending.size); }, 5000);
  while (pending.size > 0) await Promise.all(pending);
  clearTimeout(t);
}
