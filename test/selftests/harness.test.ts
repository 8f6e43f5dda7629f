/*
 * The harness itself, on the CPU engine: each way for a test to end, what it leaves behind, and
 * that nothing of it reaches the next test.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { bootMachine, PAGE_SIZE, PROT_READ, PROT_WRITE } from '../../src/index.ts';
import type { LocalMachine } from '../../src/index.ts';
import { SkipTest } from './checks.ts';
import { describeAdapter, runSelftests, SELFTEST_MACHINE, SelftestSession } from './harness.ts';
import type { HmmTest } from './hmm-test.ts';
import { index } from './hmm-test.ts';
import { selectInstances } from './selftest.ts';
import type { Instance, Selftest } from './selftest.ts';
import { SUITE } from './suite.ts';

const machines: LocalMachine[] = [];

async function openCounted(): Promise<LocalMachine> {
  const machine = await bootMachine({ ...SELFTEST_MACHINE, engine: 'cpu' });
  machines.push(machine);
  return machine;
}

afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.close();
});

function instance(name: string, run: (test: HmmTest) => Promise<void>): Instance {
  const selftest: Selftest = { fixture: 'hmm', name, run };
  return selectInstances([selftest], { variant: 'private' })[0]!;
}

const passing = instance('passes', () => Promise.resolve());

describe('a test', () => {
  test('passes when nothing fails', async () => {
    const session = new SelftestSession(openCounted);
    const result = await session.run(passing);
    expect(result).toMatchObject({ verdict: 'pass', reason: '', log: [] });
    expect(await session.run(passing)).toMatchObject({ verdict: 'pass' });
    expect(machines).toHaveLength(1);
  });

  test('ends with the first failed assertion', async () => {
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', async (test) => {
      test.assertErrno(0, await test.fd.tryIoctl('READ', badRange).then((r) => r.errno), 'READ');
      test.fail('never reached');
    });
    const { verdict, log } = await session.run(fails);
    expect(verdict).toBe('fail');
    expect(log).toEqual([
      'fails:Expected 0 == READ (-EINVAL (-22))',
      'fails: Test terminated by assertion',
    ]);
  });

  test('goes on after a failed expectation, and fails', async () => {
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', (test) => {
      test.expectEq(1, 2, 'one');
      test.expectEq('a', 'b', 'letter');
      return Promise.resolve();
    });
    const { verdict, log } = await session.run(fails);
    expect(verdict).toBe('fail');
    expect(log).toEqual(['fails:Expected 1 == one (2)', 'fails:Expected a == letter (b)']);
  });

  test('names the first wrong word', async () => {
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', async (test) => {
      const buffer = await test.buffer(2);
      await test.fill(buffer, index);
      await test.storeWord(buffer, 1, 77);
      await test.assertPtr(buffer, index);
    });
    const { log } = await session.run(fails);
    expect(log[0]).toBe('fails:Expected 1024 == ptr[1024] (77), 1 of 2048 words are wrong');
  });

  test('fails with the error of a call that was not expected to fail', async () => {
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', (test) => test.process.munmap(1, PAGE_SIZE));
    expect((await session.run(fails)).log).toEqual(['fails: EINVAL: munmap']);
    const dies = instance('dies', (test) => test.process.touch(4096, 'read'));
    expect((await session.run(dies)).log).toEqual(['dies: SIGSEGV: read at 0x1000']);
    const breaks = instance('breaks', () => Promise.reject(new TypeError('a mistake')));
    expect((await session.run(breaks)).log[0]).toContain('TypeError: a mistake');
  });

  test('can skip itself, with the reason', async () => {
    const session = new SelftestSession(openCounted);
    const skips = instance('skips', () => Promise.reject(new SkipTest('no such memory')));
    const result = await session.run(skips);
    expect(result).toMatchObject({ verdict: 'skip', reason: 'no such memory', log: [] });
  });

  test('can not hide a failure behind a skip', async () => {
    const session = new SelftestSession(openCounted);
    const both = instance('both', (test) => {
      test.expectEq(1, 2, 'one');
      return Promise.reject(new SkipTest('no such memory'));
    });
    expect((await session.run(both)).verdict).toBe('fail');
  });

  test('that hangs is ended, and the next one gets a machine that works', async () => {
    const session = new SelftestSession(openCounted, 100);
    const hangs = instance('hangs', () => new Promise(() => {}));
    const { verdict, log } = await session.run(hangs);
    expect(verdict).toBe('fail');
    expect(log).toEqual(['hangs: Test terminated by timeout']);
    expect((await session.run(passing)).verdict).toBe('pass');
    expect(machines).toHaveLength(2);
  });

  test('that takes long is not ended while its machine works', async () => {
    const session = new SelftestSession(openCounted, 100);
    const slow = instance('slow', async (test) => {
      const buffer = await test.buffer(1);
      for (let turn = 0; turn < 10; turn++) {
        await test.cmdOk(test.fd, 'MIGRATE_TO_DEV', buffer, 1);
        await test.loadWord(buffer, 0);
        await new Promise((done) => {
          setTimeout(done, 50);
        });
      }
    });
    const { verdict, ms } = await session.run(slow);
    expect(verdict).toBe('pass');
    expect(ms).toBeGreaterThan(400);
  });

  test('gets a new machine after one that failed', async () => {
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', (test) => Promise.resolve(test.fail('on purpose')));
    await session.run(fails);
    expect((await session.run(passing)).verdict).toBe('pass');
    expect(machines).toHaveLength(2);
  });
});

const badRange = { addr: 1, ptr: 0, npages: 1 };

describe('a test that leaves something behind fails', () => {
  test('RAM of a process that it forgot', async () => {
    const session = new SelftestSession(openCounted);
    const leaks = instance('leaks', async ({ machine }) => {
      const process = await machine.spawn();
      const addr = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
      await process.touch(addr, 'write');
    });
    const { verdict, log } = await session.run(leaks);
    expect(verdict).toBe('fail');
    expect(log[0]).toMatch(/^leaks:Expected \d+ == free pages of RAM after the test \(\d+\)$/);
  });

  test('a device page of a process that it forgot', async () => {
    const session = new SelftestSession(openCounted);
    const leaks = instance('leaks', async ({ machine }) => {
      const process = await machine.spawn();
      const addr = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
      const device = await process.openDevice(0);
      await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
    });
    const { verdict, log } = await session.run(leaks);
    expect(verdict).toBe('fail');
    expect(log[0]).toMatch(/^leaks:Expected \d+ == pages returned to device 0 after the test/);
  });

  test('while one that gives all back passes', async () => {
    const session = new SelftestSession(openCounted);
    const tidy = instance('tidy', async (test) => {
      const process = await test.spawn();
      const addr = await process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
      const device = await test.open(process, 0);
      await device.ioctl('MIGRATE_TO_DEV', { addr, ptr: 0, npages: 1 });
    });
    expect(await session.run(tidy)).toMatchObject({ verdict: 'pass', log: [] });
  });

  test('a device that it closed behind the back of the fixture', async () => {
    const session = new SelftestSession(openCounted);
    const closes = instance('closes', (test) => test.fd.close());
    expect((await session.run(closes)).log).toEqual(['closes: EBADF: close']);
  });
});

describe('a run', () => {
  test('reports a failure and goes on', async () => {
    const lines: string[] = [];
    const session = new SelftestSession(openCounted);
    const fails = instance('fails', (test) => Promise.resolve(test.fail('on purpose')));
    const totals = await runSelftests([fails, passing], session, (line) => lines.push(line));
    expect(totals).toEqual({ pass: 1, fail: 1, skip: 0 });
    expect(lines).toContain('# fails:on purpose');
    expect(lines.filter((line) => /^(not )?ok/.test(line))).toEqual([
      'not ok 1 hmm.hmm_device_private.fails',
      'ok 2 hmm.hmm_device_private.passes',
    ]);
    expect(lines.at(-1)).toBe('# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0');
  });

  test('says that the CPU engine is software, and that software adapters are', async () => {
    const { report } = await openCounted();
    expect(describeAdapter(report)).toBe('none: the CPU engine moves the pages (software)');
    const adapter = { ...report.adapter, vendor: 'google', architecture: 'swiftshader' };
    const gpu = { ...report, engine: 'webgpu' as const, adapter };
    const soft = describeAdapter({ ...gpu, adapter: { ...adapter, isSoftware: true } });
    expect(soft).toMatch(/^google swiftshader.*\(software\)$/);
    const hard = describeAdapter({ ...gpu, adapter: { ...adapter, isSoftware: false } });
    expect(hard).not.toContain('software');
  });
});

/** The kernel's test of private file mappings has the word in its own name. */
const keepFilePrivate = (id: string): string =>
  id.replace('migrate_file_coherent', 'migrate_file_private');

describe('selection', () => {
  const names = (filter?: RegExp, variant?: 'private' | 'coherent'): string[] =>
    selectInstances(SUITE, { filter, variant }).map(({ id }) => id);

  test("without a filter: the kernel's 39 in each variant, none of ours", () => {
    const all = names(undefined, 'private');
    expect(all).toHaveLength(39);
    expect(all.filter((id) => id.startsWith('hmm2.'))).toHaveLength(3);
    expect(names()).toHaveLength(78);
    const coherent = all.map((id) => id.replaceAll('private', 'coherent'));
    expect(names(undefined, 'coherent')).toEqual(coherent.map(keepFilePrivate));
  });

  test('a filter selects by the whole name', () => {
    expect(names(/^hmm2\..*private/)).toHaveLength(3);
    expect(names(/anon_write/, 'private')).toEqual([
      'hmm.hmm_device_private.anon_write',
      'hmm.hmm_device_private.anon_write_prot',
      'hmm.hmm_device_private.anon_write_child',
      'hmm.hmm_device_private.anon_write_child_shared',
      'hmm.hmm_device_private.anon_write_huge',
      'hmm.hmm_device_private.anon_write_hugetlbfs',
    ]);
    expect(names(/no_such_test/)).toEqual([]);
  });

  test('ours are selected only by a filter that names their fixture', () => {
    const isOurs = (id: string): boolean => id.startsWith('webhmm.webhmm_device_');
    expect(names(/faults_count|migrate/).some(isOurs)).toBe(false);
    expect(names(/webhmm/).length).toBeGreaterThan(15);
    expect(names(/webhmm/).every(isOurs)).toBe(true);
    const coherent = names(/webhmm/, 'coherent');
    expect(coherent).toContain('webhmm.webhmm_device_coherent.stores_survive_migration');
    expect(coherent).not.toContain('webhmm.webhmm_device_coherent.holes_are_zero');
  });

  test('no two tests have the same name', () => {
    const all = names(/hmm|webhmm/);
    expect(new Set(all).size).toBe(all.length);
  });
});
