/*
 * Which writes are guarded, and that nothing else of a text changes.
 */
import { describe, expect, it } from 'vitest';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import { WRITE_GUARDS } from '../../../src/gpu/vm/guard-writes.ts';

/** The guarded text of a kernel with these statements, between its braces. */
function guarded(body: string, before = 'var<workgroup> tile: array<u32, 64>;'): string {
  const text = `${before}\nfn kernel(wg: u32, lid: u32) {\n${body}\n}`;
  const checked = checkKernel(text);
  if (isRefused(checked)) throw new Error(JSON.stringify(checked));
  let back = checked.guarded;
  for (const check of [' if (vm_tick()) { break; }', ' _ = vm_tick();', ...WRITE_GUARDS]) {
    back = back.replaceAll(check, '');
  }
  expect(back).toBe(text);
  return checked.guarded.split('\n').slice(2, -1).join('\n');
}

const IF = 'if (vm_never == 0u) {';

describe('writes to workgroup memory', () => {
  it.each([
    ['tile[lid] = 1u;', `${IF} tile[lid] = 1u; /*_*/}`],
    ['tile[lid] >>= 1u;', `${IF} tile[lid] >>= 1u; /*_*/}`],
    ['tile[lid]++;', `${IF} tile[lid]++; /*_*/}`],
    ['(tile[lid]) = 1u;', `${IF} (tile[lid]) = 1u; /*_*/}`],
    ['*(&tile[lid]) = 1u;', `${IF} *(&tile[lid]) = 1u; /*_*/}`],
    ['tile[min(lid, 3u)] = 1u;', `{ let vm_place = &(tile[min(lid, 3u)] ); ${IF} `],
    ['let p = &tile[lid]; *p = 1u;', `let p = &tile[lid]; ${IF} *p = 1u; /*_*/}`],
    ['let p = (&tile); let q = p; q[0] = 1u;', `${IF} q[0] = 1u; /*_*/}`],
  ])('%s is guarded', (body, wanted) => {
    expect(guarded(body)).toContain(wanted);
  });

  it('through parameters too, but for those of its own memory', () => {
    const helpers = `var<workgroup> tile: array<u32, 64>;
alias Word = ptr<workgroup, u32>;
fn a(to: ptr<workgroup, u32>) { *to = 1u; }
fn b(to: Word) { *to = 2u; }
fn c(to: ptr<function, u32>) { *to = 3u; }`;
    const text = `${helpers}\nfn kernel(wg: u32, lid: u32) {}`;
    const checked = checkKernel(text);
    if (isRefused(checked)) throw new Error(JSON.stringify(checked));
    const lines = checked.guarded.split('\n');
    expect(lines[2]).toContain(`${IF} *to = 1u; /*_*/}`);
    expect(lines[3]).toContain(`${IF} *to = 2u; /*_*/}`);
    expect(lines[4]).toBe('fn c(to: ptr<function, u32>) { *to = 3u; }');
  });

  it('at the head of a loop its check comes first', () => {
    const text = guarded('loop {tile[0] = 1u;tile[1] = 2u;if lid > 0u { break; }}');
    expect(text).toBe(
      `loop { if (vm_tick()) { break; }${IF} tile[0] = 1u; /*_*/}${IF} tile[1] = 2u; /*_*/}` +
        'if lid > 0u { break; }}',
    );
  });

  it.each([
    'var x = tile[0]; x = 1u; x += tile[lid]; x++;',
    'let i = lid; _ = i == tile[lid];',
    'for (var i = 0u; i < 4u; i++) { var t = tile[i]; t = i; }',
    'if (tile[lid] == 1u) { } else if tile[0] <= 2u { }',
    'switch tile[lid] { case 1u: { } default: { } }',
    'vm_store(vm_arg(0u), tile[lid]);',
  ])('%s is as it was', (body) => {
    expect(guarded(body)).not.toContain(IF);
  });

  it('are guarded in no kernel without workgroup memory', () => {
    const body = 'var a = array<u32, 4>(); let p = &a; (*p)[lid & 3u] = 1u;';
    expect(guarded(body, '')).toBe(body);
  });

  it('are refused in the head of a loop, by line', () => {
    const wgsl = `var<workgroup> at: u32;
fn kernel(wg: u32, lid: u32) {
  for (var i = 0u; i < 3u; i++) { }
  for (at = 0u; at < 3u; at++) { }
}`;
    const found = checkKernel(wgsl);
    expect(isRefused(found) ? found.map(({ line }) => line) : []).toEqual([4, 4]);
    expect(isRefused(found) && found[0]!.reason).toContain('write it in the loop');
  });
});
