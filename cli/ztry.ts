/* scratch */
import { readFileSync, readdirSync } from 'node:fs';
import { bootMachine, PROT_READ, PROT_WRITE, Prng } from '../src/index.ts';
import { openNodeGpu } from './node-gpu.ts';

const RED = ['add','sub','min','max','and','or','xor'];
const cap = (s: string) => s[0]!.toUpperCase() + s.slice(1);
const SHIM = (words: number, args: number[], base: number, lanes: number) => `
@group(0) @binding(0) var<storage, read_write> zmem: array<atomic<u32>>;
var<workgroup> zshown: u32;
var<private> zlane: u32;
const ZARGS = array<u32, 32>(${Array.from({length:32},(_, i)=>`${args[i] ?? 0}u`).join(',')});
fn vm_arg(i: u32) -> u32 { return ZARGS[i]; }
fn zat(va: u32) -> u32 { return (va - ${base}u) >> 2u; }
fn vm_load(va: u32) -> u32 { return atomicLoad(&zmem[zat(va)]); }
fn vm_load_f32(va: u32) -> f32 { return bitcast<f32>(vm_load(va)); }
fn vm_load_byte(va: u32) -> u32 { return (vm_load(va) >> ((va & 3u)*8u)) & 255u; }
fn vm_load_vec4(va: u32) -> vec4u { let a = va & 0xfffffff0u; return vec4u(vm_load(a), vm_load(a+4u), vm_load(a+8u), vm_load(a+12u)); }
fn vm_store(va: u32, v: u32) { atomicStore(&zmem[zat(va)], v); }
fn vm_store_f32(va: u32, v: f32) { vm_store(va, bitcast<u32>(v)); }
fn vm_store_vec4(va: u32, v: vec4u) { let a = va & 0xfffffff0u; vm_store(a, v.x); vm_store(a+4u, v.y); vm_store(a+8u, v.z); vm_store(a+12u, v.w); }
fn vm_store_byte(va: u32, v: u32) { let s = (va & 3u)*8u; atomicAnd(&zmem[zat(va)], ~(255u << s)); atomicOr(&zmem[zat(va)], (v & 255u) << s); }
fn vm_prefetch(va: u32) {}
fn vm_prefetch_write(va: u32) {}
fn vm_barrier() -> bool { workgroupBarrier(); return true; }
fn vm_storage_barrier() -> bool { storageBarrier(); workgroupBarrier(); return true; }
fn vm_uniform(v: u32) -> u32 { workgroupBarrier(); if (zlane == 0u) { zshown = v; } return workgroupUniformLoad(&zshown); }
fn vm_restore(v: vec4u) -> vec4u { return v; }
fn vm_checkpoint(v: vec4u) {}
fn vm_atomic_exchange(va: u32, v: u32) -> u32 { return atomicExchange(&zmem[zat(va)], v); }
fn vm_atomic_cas(va: u32, c: u32, v: u32) -> u32 { loop { let r = atomicCompareExchangeWeak(&zmem[zat(va)], c, v); if (r.exchanged || r.old_value != c) { return r.old_value; } } return 0u; }
${RED.map((n) => `fn vm_atomic_${n}(va: u32, v: u32) -> u32 { return atomic${cap(n)}(&zmem[zat(va)], v); }
fn vm_reduce_${n}(va: u32, v: u32) { atomic${cap(n)}(&zmem[zat(va)], v); }`).join('\n')}
`;
const MAIN = (lanes: number) => `
@compute @workgroup_size(${lanes}) fn zmain(@builtin(workgroup_id) g: vec3u, @builtin(local_invocation_index) l: u32) { zlane = l; kernel(g.x, l); }
`;
export async function main(): Promise<void> {
  const { gpu } = await openNodeGpu(() => {});
  const dev = await (await gpu.requestAdapter())!.requestDevice();
  const dir = process.argv[2]!;
  const only = process.argv[3];
  for (const f of readdirSync(dir).filter((x) => x.endsWith('.wgsl') && (only === undefined || x.includes(only)))) {
    const text = readFileSync(`${dir}/${f}`, 'utf8');
    const opt = (n: string, d: number) => Number(new RegExp(`// ${n}=(\\d+)`).exec(text)?.[1] ?? d);
    const pages = opt('pages', 8), lanes = opt('lanes', 64), wgs = opt('wgs', 8), bag = opt('bag', 0);
    const length = pages * 4096;
    const init = new Uint32Array(length / 4);
    const prng = new Prng(7);
    init.forEach((_, i) => (init[i] = opt('zero', 0) ? 0 : prng.below(2 ** 32)));
    // raw
    const base = 2 ** 21;
    dev.pushErrorScope('validation');
    const module = dev.createShaderModule({ code: SHIM(length / 4, [base, length / 4], base, lanes) + text + MAIN(lanes) });
    const buf = dev.createBuffer({ size: length, usage: 0x80 | 4 | 8 });
    dev.queue.writeBuffer(buf, 0, init);
    const pipe = dev.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'zmain' } });
    const err = await dev.popErrorScope();
    if (err) { console.log(f, 'RAW', err.message.slice(0, 800)); }
    let expected = new Uint32Array(0);
    if (!err) {
      const enc = dev.createCommandEncoder(); const p = enc.beginComputePass();
      p.setPipeline(pipe); p.setBindGroup(0, dev.createBindGroup({ layout: pipe.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: buf } }] }));
      p.dispatchWorkgroups(wgs); p.end();
      const rb = dev.createBuffer({ size: length, usage: 1 | 8 });
      enc.copyBufferToBuffer(buf, 0, rb, 0, length); dev.queue.submit([enc.finish()]);
      await rb.mapAsync(1); expected = new Uint32Array(rb.getMappedRange().slice(0)); rb.destroy();
    }
    const sorted = (w: Uint32Array) => bag ? Uint32Array.from([...w.slice(0, bag)].sort((a, b) => a - b)) : w;
    const variants: [number, object, object][] = [
      [64, {}, {}], [1, { window: 1 }, {}], [1, {}, {}], [1, { ringRecords: 1 }, {}], [3, { window: 3, logWords: 4, checkReplays: true }, {}],
      [2, { dedup: false, window: 4096, checkReplays: true }, {}], [5, {}, { policy: 'uvm' }], [7, { ringRecords: 3 }, { policy: 'tbn', service: { devicePages: 3, batchLimit: 1 } }],
      [1, {}, { policy: 'none', service: { ringRecords: 1 } }],
    ];
    const out: string[] = [];
    for (const [at, [dp, kopt, lopt]] of variants.entries()) {
      const db = dp * 4096;
      const machine = await bootMachine({ engine: 'webgpu', ramBytes: 2 ** 23, deviceBytes: db, chunkBytes: db });
      try {
        const process_ = await machine.spawn();
        const addr = await process_.mmap({ length, prot: PROT_READ | PROT_WRITE });
        await process_.write(addr, new Uint8Array(init.buffer));
        const device = await process_.openDevice(0);
        const kernel = await device.compileKernel({ wgsl: text, lanes, ...kopt });
        const t = Date.now();
        const report = await device.launch(kernel, { workgroups: wgs, args: [addr, length / 4], origin: addr - base, ...lopt });
        const bytes = await process_.read(addr, length);
        const got = new Uint32Array(bytes.buffer);
        const same = Buffer.from(sorted(got).buffer).equals(Buffer.from(sorted(expected).buffer));
        let first = -1; if (!same) first = got.findIndex((x, i) => x !== expected[i]);
        out.push(`${at}:${report.outcome === 'done' && report.killed === 0 ? '' : `${report.outcome} ${report.cause} killed ${report.killed} `}${same ? 'ok' : `DIFF@${first} ${got[first]} want ${expected[first]}`} p${report.passes} ${Date.now() - t}ms`);
        if (at === 0) out.unshift(kernel.firstAttempt);
      } catch (e) { out.push(`${at}:${(e as Error).message.slice(0, 500)}`); if ((e as Error).name === 'KernelCompileError') break; }
      finally { await machine.close(); }
    }
    const bad = out.some((o) => /DIFF|[a-z]+ .*killed|[a-z]{4,}:/.test(o.replace(/^\d+:ok/, '')));
    console.log(`${bad ? '!! ' : ''}${f}: ${out.join(' | ')}`);
  }
  process.exit(0);
}
