/*
 * What the calls of the fuzzer refer to: processes, mappings and descriptors that exist, that are
 * gone, or that never were. Also the housekeeping that keeps the machine small.
 */
import type { Prng } from '../../src/base/prng.ts';
import { PAGE_SIZE } from '../../src/base/units.ts';
import type { Kernel } from '../../src/worker/kernel.ts';
import { hostile, pick } from './hostile.ts';

/** A mapping longer than this came from a hostile length, and goes at once. */
const MAX_MAPPED = 64 * PAGE_SIZE;
const MAX_PROCESSES = 4;
const MAX_VMAS = 12;
const MAX_FILES = 8;

export class Pool {
  readonly random: Prng;
  readonly kernel: Kernel;
  /** How often an argument is hostile. */
  malice = 0.3;
  /** The digest of the state as the last call left it, null when that is not known. */
  digest: number | null = null;
  private readonly gonePids: number[] = [];
  private readonly goneFds: number[] = [];

  constructor(random: Prng, kernel: Kernel) {
    this.random = random;
    this.kernel = kernel;
  }

  /** A hostile value now and then, else what `make` makes. */
  or(make: () => unknown): unknown {
    return this.random.chance(this.malice) ? hostile(this.random) : make();
  }

  pid(): unknown {
    return this.or(() => this.alive(this.pids(), this.gonePids));
  }

  /** A descriptor of any kind. */
  fd(): unknown {
    const kinds = [this.deviceFds(), this.fileFds(), this.uffdFds()];
    return this.or(() => this.alive(pick(this.random, kinds), this.goneFds));
  }

  deviceFd(): unknown {
    return this.random.chance(0.8) ? this.alive(this.deviceFds(), this.goneFds) : this.fd();
  }

  fileFd(): unknown {
    return this.random.chance(0.8) ? this.alive(this.fileFds(), this.goneFds) : this.fd();
  }

  uffdFd(): unknown {
    return this.random.chance(0.8) ? this.alive(this.uffdFds(), this.goneFds) : this.fd();
  }

  /** An address: mostly in a mapping of some process, now and then beside one. */
  addr(): unknown {
    return this.or(() => {
      const vmas = [...this.kernel.sys.mms].flatMap((mm) => mm.vmas);
      if (vmas.length === 0) return 2 ** 20;
      const vma = pick(this.random, vmas);
      const pages = (vma.vmEnd - vma.vmStart) / PAGE_SIZE;
      const page = this.random.below(pages + 2) - 1;
      return vma.vmStart + page * PAGE_SIZE + (this.random.chance(0.1) ? 8 : 0);
    });
  }

  /** Bytes, mostly whole pages. */
  length(): unknown {
    return this.or(() => {
      // Now and then about all of RAM, so that memory runs out half way.
      const { ramPages } = this.kernel.sys;
      if (this.random.chance(0.03)) return (ramPages - this.random.below(16)) * PAGE_SIZE;
      const pages = this.random.below(9);
      return pages * PAGE_SIZE + (this.random.chance(0.2) ? this.random.below(PAGE_SIZE) : 0);
    });
  }

  npages(): unknown {
    return this.or(() => this.random.below(9));
  }

  /** One of the values that mean something, or not. */
  oneOf(...values: readonly unknown[]): unknown {
    return this.or(() => pick(this.random, values));
  }

  /** Bits of a mask. */
  bits(mask: number): unknown {
    return this.or(() => this.random.below(mask + 1));
  }

  bytes(): unknown {
    return this.or(() => new Uint8Array(this.random.below(3 * PAGE_SIZE)).fill(0xa5));
  }

  pids(): number[] {
    return [...this.kernel['processes'].keys()];
  }

  deviceFds(): number[] {
    return [...this.kernel['files'].keys()];
  }

  fileFds(): number[] {
    return [...this.kernel['tmpfiles']['inodes'].keys()];
  }

  uffdFds(): number[] {
    return [...this.kernel['uffds']['files'].keys()];
  }

  /** What was taken by gup, mostly. */
  gupHandle(): number {
    const handles = [...this.kernel['userPages']['held'].keys()];
    return handles.length === 0 ? 1 : pick(this.random, handles);
  }

  /** A kernel, mostly. */
  kernelHandle(): number {
    const handles = [...this.kernel['launches']['compiled'].keys()];
    return handles.length === 0 ? 1 : pick(this.random, handles);
  }

  /** Closes every userfaultfd, so that whoever waits for a monitor goes on. */
  async wakeAll(): Promise<void> {
    for (const fd of this.uffdFds()) await this.kernel.closeUserfaultfd(fd);
  }

  /** Keeps the machine small, and something of everything in it. */
  async tidy(): Promise<void> {
    const { kernel } = this;
    for (const pid of this.pids().slice(0, -MAX_PROCESSES)) await this.endProcess(pid);
    for (const [pid, mm] of kernel['processes']) {
      const ranges = mm.vmas.map(({ vmStart, vmEnd }) => ({ vmStart, vmEnd }));
      for (const { vmStart, vmEnd } of ranges) {
        const isMany = mm.vmas.length > MAX_VMAS;
        const isHuge = vmEnd - vmStart > MAX_MAPPED;
        if (isHuge || isMany) await kernel.munmap(pid, vmStart, vmEnd - vmStart);
      }
    }
    for (const handle of [...kernel['userPages']['held'].keys()].slice(0, -MAX_FILES)) {
      kernel.gupRelease(handle);
    }
    for (const fd of this.fileFds()) {
      const isHuge = kernel.fstat(fd).size > MAX_MAPPED;
      if (isHuge || this.fileFds().length > MAX_FILES) this.drop(fd, kernel.closeFile(fd));
    }
    for (const fd of this.deviceFds().slice(0, -MAX_FILES)) {
      this.drop(fd, await kernel.closeDevice(fd));
    }
    for (const fd of this.uffdFds().slice(0, -2)) {
      this.drop(fd, await kernel.closeUserfaultfd(fd));
    }
  }

  private async endProcess(pid: number): Promise<void> {
    await this.kernel.exit(pid);
    this.gonePids.push(pid);
  }

  private drop(fd: number, _status: number): void {
    this.goneFds.push(fd);
  }

  private alive(live: readonly number[], gone: readonly number[]): number {
    const isStale = live.length === 0 || this.random.chance(0.1);
    if (!isStale) return pick(this.random, live);
    return gone.length === 0 ? 9999 : pick(this.random, gone);
  }
}
