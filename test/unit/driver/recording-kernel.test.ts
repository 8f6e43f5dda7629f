/*
 * Kernels that write down what they touch: their text, and traces made of their logs.
 */
import { describe, expect, test } from 'vitest';
import { EXAMPLE_NAMES, exampleKernel } from '../../../examples/05-fault-lab/kernels.ts';
import { recordingKernel, traceOfLogs } from '../../../src/driver/recording-kernel.ts';
import { withoutComments } from '../../../src/engine/vm/kernel-text.ts';
import { printVmKernel } from '../../../src/engine/vm/print-wgsl.ts';
import { SHAPE_KERNELS } from '../../../src/engine/vm/shape-kernels.ts';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import { PUBLIC_NAMES } from '../../../src/gpu/vm/public-names.ts';
import { traceToCsv } from '../../../src/index.ts';

/** The recording kernel of one with so many arrays, their length behind them; null for none. */
function recording(wgsl: string, arrays: number, words: number): string | null {
  const made = recordingKernel(wgsl, { argument: arrays + 1, words, lanes: 64 });
  return 'wgsl' in made ? made.wgsl : null;
}

const linesOf = (trace: Parameters<typeof traceToCsv>[0]): string[] =>
  traceToCsv(trace).trimEnd().split('\n').slice(3);

describe('a recording kernel', () => {
  const texts: (readonly [string, string])[] = [
    ...EXAMPLE_NAMES.filter((name) => name !== 'refused').map(
      (name) => [name, exampleKernel(name).wgsl] as const,
    ),
    ...Object.entries(SHAPE_KERNELS).map(
      ([name, { ir }]) => [`shape ${name}`, printVmKernel(ir)] as const,
    ),
  ];

  test.for(texts)('%s passes the check of kernels', ([, wgsl]) => {
    const checked = checkKernel(recording(wgsl, 2, 16)!);
    expect(isRefused(checked) ? checked : []).toEqual([]);
  });

  test('no comment hides a call, or the function; barriers are found without parentheses', () => {
    const text = recording(
      `// fn kernel(wg: u32, lid: u32) { is what it has to be
fn kernel(wg: u32, lid: u32) {
  _ = vm_load /* of */ (vm_arg(0u)); // vm_store(0u, 1u)
  if !vm_barrier() { return; }
  if (!(vm_storage_barrier())) { return; }
}`,
      0,
      16,
    )!;
    expect(isRefused(checkKernel(text))).toBe(false);
    const own = text
      .split('\n')
      .slice(0, 6)
      .map((line) => line.trim());
    expect(own[0]).toBe('');
    expect(own[1]).toMatch(/^fn kernel\(wg: u32, lid: u32\) \{ rec_log = /);
    expect(own[2]).toMatch(/^_ = rec_load +\(vm_arg\(0u\)\);$/);
    expect(own.filter((line) => line.startsWith('rec_meet(); if'))).toHaveLength(2);
    expect(text).not.toMatch(/vm_store\(0u/);
    const made = recordingKernel('/* fn kernel', { argument: 1, words: 16, lanes: 64 });
    expect(made).toEqual({ reason: 'a comment has no end' });
  });

  test.for(texts)(
    '%s has its lines where they were, and no call that is not written down',
    (one) => {
      const wgsl = one[1];
      const text = recording(wgsl, 2, 16)!;
      const own = text.split('\n').slice(0, wgsl.split('\n').length);
      const back = own
        .join('\n')
        .replaceAll('rec_meet(); ', '')
        .replaceAll(/ rec_log = [^;]*;/g, '')
        .replaceAll('rec_', 'vm_');
      expect(back).toBe(withoutComments(wgsl));
      expect(own.join('\n')).not.toMatch(/\bvm_(load|store|atomic|reduce|prefetch)/);
    },
  );

  test('knows every call of the prelude that touches memory', () => {
    const touching = [...PUBLIC_NAMES].filter(([, { does }]) => /load|effect|both|hint/.test(does));
    for (const [name] of touching) {
      const wgsl = `fn kernel(wg: u32, lid: u32) { ${name}(0u); }`;
      expect(recording(wgsl, 1, 16), name).toMatch(new RegExp(`fn rec_${name.slice(3)}\\(va: u32`));
    }
  });

  test('takes whatever its parameters are called, and no function that is not the kernel', () => {
    const text = recording('fn kernel( g :u32,\n l: u32, ) {\n}\n', 3, 64);
    expect(text).toMatch(/\{ rec_log = vm_arg\(4u\) \+ \(g \* 64u \+ l\) \* 256u;\n\}/);
    expect(recording('fn kernels(wg: u32, lid: u32) {}', 1, 16)).toBeNull();
    expect(recording('fn kernel(wg: u32) {}', 1, 16)).toBeNull();
    const saved = 'fn kernel(wg: u32, lid: u32) { var s = vm_restore(vec4u()); }';
    expect(recording(saved, 1, 16)).toBeNull();
  });
});

describe('a trace of logs', () => {
  const word = (page: number, access: number): number => page * 8 + access + 1;

  test('has the accesses of each invocation, and workgroups of as many lanes', () => {
    const lanes = [
      [word(0, 1), word(1, 2), 0, 0],
      [word(0, 1), 0, 0, 0],
      [0, 0, 0, 0],
      [word(2, 3), 8, word(0, 0), 0],
    ];
    const logs = Uint32Array.from(lanes.flat());
    const trace = traceOfLogs('mine', logs, 4, 2, 3)!;
    expect(trace).toMatchObject({ name: 'mine', workgroups: 2 });
    expect(linesOf(trace)).toEqual([
      '0,0,0,R',
      '0,0,1,W',
      '0,1,0,R',
      '1,1,2,A',
      '1,1,0,B',
      '1,1,0,P',
    ]);
  });

  test('leaves out what is in none of the arrays', () => {
    const logs = Uint32Array.from([word(1, 1), word(0x1f_ffff, 1), word(0, 1), 0]);
    expect(linesOf(traceOfLogs('mine', logs, 4, 1, 2)!)).toEqual(['0,0,1,R', '0,0,0,R']);
  });

  test('is none where a log is full', () => {
    const full = Uint32Array.from([word(0, 1), word(1, 1), word(0, 1), word(1, 1)]);
    expect(traceOfLogs('mine', full, 4, 1, 2)).toBeNull();
    expect(traceOfLogs('mine', full.with(3, 0), 4, 1, 2)).not.toBeNull();
  });
});
