/*
 * Proves that the selftests can fail: a kernel that makes one mistake, and the tests that have to
 * notice. Each mistake sits between the facade and a kernel that is right, on the CPU engine.
 *
 * The last test here sees to it that each of the kernel's tests notices at least one.
 */
import { expect, test } from 'vitest';
import { bootMachine, errno } from '../../src/index.ts';
import type { DmirrorCommand, DmirrorRequest, DmirrorResult } from '../../src/index.ts';
import type { Kernel } from '../../src/worker/kernel.ts';
import { SELFTEST_MACHINE, SelftestSession } from './harness.ts';
import { selectInstances } from './selftest.ts';
import { SUITE } from './suite.ts';

interface Mistake {
  readonly name: string;
  /** Makes a kernel behave wrongly. */
  readonly apply: (kernel: Kernel) => void;
  /** Names of the kernel's tests that fail, and no others. */
  readonly caughtBy: readonly string[];
}

type Ioctl = (command: DmirrorCommand, request: DmirrorRequest, fd: number) => Answer;
type Answer = Promise<DmirrorResult>;

/** Puts `wrong` before the device's commands; it may call the right ones. */
function onIoctl(wrong: (right: Ioctl, ...args: Parameters<Ioctl>) => Answer) {
  return (kernel: Kernel): void => {
    const right = kernel.ioctl.bind(kernel);
    kernel.ioctl = (fd, command, request) => wrong((c, r) => right(fd, c, r), command, request, fd);
  };
}

/** Changes the answer of one command where it succeeds. */
function onResult(command: DmirrorCommand, change: (right: DmirrorResult) => DmirrorResult) {
  return onIoctl(async (right, seen, request, fd) => {
    const result = await right(seen, request, fd);
    return seen === command && result.errno === 0 ? change(result) : result;
  });
}

/** Answers one errno instead of another. */
function onErrno(command: DmirrorCommand, from: number, to: number) {
  return onIoctl(async (right, seen, request, fd) => {
    const result = await right(seen, request, fd);
    return seen === command && result.errno === from ? { ...result, errno: to } : result;
  });
}

/** The tests that are watched here: the others take longer, or need what no mistake touches. */
const WATCHED = (
  'open_close anon_read anon_read_prot anon_write anon_write_prot migrate migrate_fault ' +
  'migrate_release migrate_shared migrate_multiple anon_read_multiple migrate_mixed snapshot ' +
  'double_map'
).split(' ');

const READS = ['anon_read', 'anon_write_prot', 'anon_read_multiple', 'double_map'];
const MIGRATIONS = ['migrate', 'migrate_fault', 'migrate_release', 'migrate_multiple'];
const done = (npages: number): Answer =>
  Promise.resolve({ errno: 0, cpages: npages, faults: 0, firstMs: 0, skipped: {} });

const MISTAKES: readonly Mistake[] = [
  {
    name: 'faults counts one too many for READ',
    apply: onResult('READ', (right) => ({ ...right, faults: right.faults + 1 })),
    caughtBy: READS,
  },
  {
    name: 'faults counts pages for WRITE',
    apply: onResult('WRITE', (right) => ({ ...right, faults: right.cpages })),
    caughtBy: ['anon_write', 'anon_write_prot'],
  },
  {
    name: 'cpages of READ is one short',
    apply: onResult('READ', (right) => ({ ...right, cpages: right.cpages - 1 })),
    caughtBy: READS,
  },
  {
    name: 'cpages of MIGRATE_TO_DEV is one short',
    apply: onResult('MIGRATE_TO_DEV', (right) => ({ ...right, cpages: right.cpages - 1 })),
    caughtBy: [...MIGRATIONS, 'migrate_mixed', 'snapshot', 'double_map'],
  },
  {
    name: 'an unreadable range is EPERM',
    apply: onErrno('READ', errno.EFAULT, errno.EPERM),
    caughtBy: ['anon_read_prot'],
  },
  {
    name: 'a range that may not be written is EFAULT',
    apply: onErrno('WRITE', errno.EPERM, errno.EFAULT),
    caughtBy: ['anon_write_prot'],
  },
  {
    name: 'a page that is not in the device table is EINVAL',
    apply: onErrno('MIGRATE_TO_DEV', errno.ENOENT, errno.EINVAL),
    caughtBy: ['migrate_shared', 'migrate_mixed'],
  },
  {
    name: 'a missing mapping is ENOENT',
    apply: onErrno('MIGRATE_TO_DEV', errno.EINVAL, errno.ENOENT),
    caughtBy: ['migrate_mixed'],
  },
  {
    name: 'MIGRATE_TO_DEV reads, and moves nothing',
    apply: onIoctl(async (right, command, request, fd) => {
      const isMigration = command === 'MIGRATE_TO_DEV';
      const result = await right(isMigration ? 'READ' : command, request, fd);
      return isMigration ? { ...result, faults: 0 } : result;
    }),
    caughtBy: [...MIGRATIONS, 'migrate_shared', 'migrate_mixed', 'snapshot', 'double_map'],
  },
  {
    name: 'WRITE does nothing',
    apply: onIoctl((right, command, request, fd) =>
      command === 'WRITE' ? done(request.npages) : right(command, request, fd),
    ),
    caughtBy: ['anon_write', 'anon_write_prot'],
  },
  {
    name: 'READ leaves out the last page of the mirror',
    apply: onIoctl(async (right, command, request, fd) => {
      const { npages } = request;
      if (command !== 'READ' || npages === 1) return right(command, request, fd);
      const result = await right(command, { ...request, npages: npages - 1 }, fd);
      return result.errno === 0 ? { ...result, cpages: npages } : result;
    }),
    caughtBy: ['anon_read', 'anon_read_multiple', 'double_map'],
  },
  {
    name: 'RELEASE leaves everything on the device',
    apply: onIoctl((right, command, request, fd) =>
      command === 'RELEASE' ? done(0) : right(command, request, fd),
    ),
    caughtBy: ['migrate_release'],
  },
  {
    name: 'SNAPSHOT writes nothing',
    apply: onIoctl((right, command, request, fd) =>
      command === 'SNAPSHOT' ? done(request.npages) : right(command, request, fd),
    ),
    caughtBy: ['snapshot'],
  },
  {
    name: 'mprotect does nothing',
    apply: (kernel) => {
      kernel.mprotect = () => Promise.resolve(0);
    },
    caughtBy: ['anon_read_prot', 'anon_write_prot', 'migrate_mixed', 'snapshot'],
  },
  {
    name: 'a device can not be opened twice',
    apply: (kernel) => {
      const right = kernel.openDevice.bind(kernel);
      const users = new Set<string>();
      kernel.openDevice = (pid, minor) => {
        const user = `${pid} ${minor}`;
        if (users.has(user)) return errno.EBUSY;
        users.add(user);
        return right(pid, minor);
      };
    },
    caughtBy: ['open_close'],
  },
  {
    name: 'the last word of a migrated page is lost',
    apply: (kernel) => {
      const submit = kernel.engine.submit.bind(kernel.engine);
      const { sys, engine } = kernel;
      engine.submit = async (list, strategy) => {
        const status = await submit(list, strategy);
        for (let row = 0; row < list.length; row++) {
          const to = list.target[row]!;
          // Copies home are what the CPU gets to see.
          if (list.source[row]! < sys.ram.length / 4096 || to >= sys.ram.length / 4096) continue;
          sys.ram.fill(0xee, to * 4096 + 4092, (to + 1) * 4096);
        }
        return status;
      };
    },
    caughtBy: [
      'anon_read',
      'anon_write',
      'anon_write_prot',
      'anon_read_multiple',
      ...MIGRATIONS,
      'double_map',
    ],
  },
];

const caught = new Set<string>();

test.each(MISTAKES)(
  'noticed: $name',
  async ({ apply, caughtBy }) => {
    const session = new SelftestSession(async () => {
      const machine = await bootMachine({ ...SELFTEST_MACHINE, engine: 'cpu' });
      apply(machine.kernel);
      return machine;
    });
    const failed: string[] = [];
    for (const instance of selectInstances(SUITE, { variant: 'private' })) {
      const { name } = instance.selftest;
      if (!WATCHED.includes(name)) continue;
      // These repeat themselves for most of the time that a run takes.
      if (name.endsWith('_multiple') && !caughtBy.includes(name)) continue;
      const { verdict } = await session.run(instance);
      if (verdict === 'fail') failed.push(name);
    }
    await session.close();
    for (const name of failed) caught.add(name);
    expect(failed.toSorted()).toEqual([...caughtBy].toSorted());
  },
  120_000,
);

test('none of those that are watched has passed with every mistake', () => {
  expect([...caught].toSorted()).toEqual(WATCHED.toSorted());
});
