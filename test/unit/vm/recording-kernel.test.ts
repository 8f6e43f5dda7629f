/*
 * Kernels that write down what they touch: their text, and traces made of their logs.
 */
import { describe, expect, test } from 'vitest';
import { EXAMPLE_NAMES, exampleKernel } from '../../../examples/05-fault-lab/kernels.ts';
import { traceOfLogs } from '../../../src/driver/trace-of-logs.ts';
import { withoutComments } from '../../../src/engine/vm/kernel-text.ts';
import { printVmKernel } from '../../../src/engine/vm/print-wgsl.ts';
import { SHAPE_KERNELS } from '../../../src/engine/vm/shape-kernels.ts';
import { checkKernel, isRefused } from '../../../src/gpu/vm/check-kernel.ts';
import { PUBLIC_NAMES } from '../../../src/gpu/vm/public-names.ts';
import { recordingKernel } from '../../../src/gpu/vm/recording-kernel.ts';
import { traceToCsv } from '../../../src/index.ts';

/** The recording kernel of one with so many arrays, their length behind them. */
async function recording(wgsl: string, arrays: number, words: number): Promise<string> {
  const made = await recordingKernel(wgsl, { argument: arrays + 1, words, lanes: 64 });
  if ('reason' in made) throw new Error(made.reason);
  return made.wgsl;
}

/** Why there is no recording kernel of one. */
async function reasonOf(wgsl: string): Promise<string> {
  const made = await recordingKernel(wgsl, { argument: 1, words: 16, lanes: 64 });
  return 'reason' in made ? made.reason : '';
}

/** Lines of a recording kernel that were the kernel's. */
async function ownLines(body: string, before = ''): Promise<string[]> {
  const text = `${before}fn kernel(wg: u32, lid: u32) {\n${body}\n}`;
  const lines = (await recording(text, 1, 16)).split('\n');
  expect(isRefused(checkKernel(lines.join('\n')))).toBe(false);
  const first = before.split('\n').length;
  return lines.slice(first, first + body.split('\n').length);
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

  test.for(texts)('%s passes the check of kernels', async ([, wgsl]) => {
    const checked = checkKernel(await recording(wgsl, 2, 16));
    expect(isRefused(checked) ? checked : []).toEqual([]);
  });

  test.for(texts)(
    '%s has its lines where they were, and no call that is not written down',
    async ([, wgsl]) => {
      const text = await recording(wgsl, 2, 16);
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

  test('no comment hides a call, or the function', async () => {
    const before = '// fn kernel(wg: u32, lid: u32) { is what it has to be\n/* /* */ fn kernel */';
    const own = await ownLines('_ = vm_load /* of */ (vm_arg(0u)); // vm_store(0u, 1u)', before);
    expect(own[0]!.trim()).toMatch(/^_ = rec_load +\(vm_arg\(0u\)\);$/);
    expect(await reasonOf('/* fn kernel')).toBe('line 1: the comment that begins here has no end');
  });

  test.for([
    ['if (!vm_barrier()) { return; }', 'rec_meet(); if (!vm_barrier()) { return; }'],
    ['if !(vm_storage_barrier()) {return;}', 'rec_meet(); if !(vm_storage_barrier()) {return;}'],
    [
      'if((!((vm_barrier())))){return;}else{vm_prefetch(0u);}',
      'rec_meet(); if((!((vm_barrier())))){return;}else{rec_prefetch(0u);}',
    ],
    [
      'if wg > 0u { } else { if (!vm_barrier()) { return; } else if wg > 1u { } }',
      'if wg > 0u { } else { rec_meet(); if (!vm_barrier()) { return; } else if wg > 1u { } }',
    ],
    [
      '@diagnostic(off, derivative_uniformity) if (!vm_barrier()) { return; }',
      'rec_meet(); @diagnostic(off, derivative_uniformity) if (!vm_barrier()) { return; }',
    ],
    [
      'switch wg { case 1u: { if (!vm_barrier()) { return; } } default: { } }',
      'switch wg { case 1u: { rec_meet(); if (!vm_barrier()) { return; } } default: { } }',
    ],
    [
      'loop { if (!vm_barrier()) { return; } continuing { vm_store(0u, 1u); break if wg > 0u; } }',
      'loop { rec_meet(); if (!vm_barrier()) { return; } continuing { rec_store(0u, 1u); ' +
        'break if wg > 0u; } }',
    ],
    ['let n = vm_uniform(vm_load(0u));', 'let n = vm_uniform(rec_met(rec_load(0u)));'],
    [
      'for (var i = 0u; i < vm_uniform((lid + (1u)),); i++) { }',
      'for (var i = 0u; i < vm_uniform(rec_met((lid + (1u)),)); i++) { }',
    ],
  ] as const)('%s: whoever meets writes it down', async ([body, wanted]) => {
    expect(await ownLines(body)).toEqual([wanted]);
  });

  test('an else-if with a barrier is refused as by the check', async () => {
    const body = 'if (wg > 0u) { } else if (!vm_barrier()) { return; }';
    const text = `fn kernel(wg: u32, lid: u32) {\n${body}\n}`;
    expect(await reasonOf(text)).toMatch(/^line 2: write if \(!vm_barrier/);
  });

  test('names that only look like calls stay as they are, also its own', async () => {
    const before = `const rec_log = 1u; fn my_vm_load(a: u32) -> u32 { return a; }
struct S { load: u32, barrier: u32 }
`;
    const body = 'var s: S; s.barrier = my_vm_load(rec_log); s.load = vm_load(s.barrier * 4u);';
    const own = await ownLines(body, before);
    expect(own[0]).toBe(
      'var s: S; s.barrier = my_vm_load(rec_log); s.load = rec1_load(s.barrier * 4u);',
    );
    expect(await recording(`${before}fn kernel(w: u32, l: u32) { }`, 1, 16)).toContain(
      '{ rec1_log = vm_arg(2u) + (w * 64u + l) * 64u; }',
    );
  });

  test('an invocation that goes on from a checkpoint learns how far its log is', async () => {
    const body = 'var s = vm_restore(vec4u(0u)); s.x += vm_load(0u);\nvm_checkpoint(s);';
    expect(await ownLines(body)).toEqual([
      'var s = vm_restore(vec4u(0u)); rec_resume(); s.x += rec_load(0u);',
      'rec_checkpoint(s);',
    ]);
    const plain = await recording('fn kernel(wg: u32, lid: u32) { }', 1, 16);
    expect(plain).not.toContain('rec_resume');
  });

  test('knows every call of the prelude that touches memory', async () => {
    const touching = [...PUBLIC_NAMES].filter(([, { does }]) => /load|effect|both|hint/.test(does));
    for (const [name] of touching) {
      const wgsl = `fn kernel(wg: u32, lid: u32) { ${name}(0u); }`;
      const text = await recording(wgsl, 1, 16);
      expect(text, name).toMatch(new RegExp(`fn rec_${name.slice(3)}\\(va: u32`));
    }
  });

  test('takes whatever its parameters are called, and no other function', async () => {
    const text = await recording('fn kernel( g :u32,\n l: u32, ) {\n}\n', 3, 64);
    expect(text).toMatch(/\{ rec_log = vm_arg\(4u\) \+ \(g \* 64u \+ l\) \* 256u;\n\}/);
    expect(await reasonOf('fn kernels(wg: u32, lid: u32) {}')).toContain('there is no fn kernel');
    expect(await reasonOf('fn kernel(wg: u32) {}')).toContain('it must be fn kernel');
  });
});

describe('a trace of logs', () => {
  const word = (page: number, access: number): number => page * 8 + access + 1;

  test('has the accesses of each invocation, and workgroups of as many lanes', () => {
    const lanes = [
      [9, word(0, 0), word(1, 1), 0, 0],
      [9, word(0, 0), 0, 0, 0],
      [0, 0, 0, 0, 0],
      [9, word(2, 2), 8, word(0, 3), 0],
    ];
    const logs = Uint32Array.from(lanes.flat());
    const trace = traceOfLogs('mine', logs, 5, 2, 3)!;
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
    const logs = Uint32Array.from([0, word(1, 0), word(0x1f_ffff, 0), word(0, 0), 0]);
    expect(linesOf(traceOfLogs('mine', logs, 5, 1, 2)!)).toEqual(['0,0,1,R', '0,0,0,R']);
  });

  test('is none where a log is full', () => {
    const full = Uint32Array.from([0, word(0, 0), word(1, 0), word(0, 0)]);
    expect(traceOfLogs('mine', full, 4, 1, 2)).toBeNull();
    expect(traceOfLogs('mine', full.with(3, 0), 4, 1, 2)).not.toBeNull();
  });
});
