/**
 * The monitor of a process's userfaultfd: it fills what is missing with zeroes, which is what would
 * be there without it, and takes protection back. So it changes nothing of what memory holds, only
 * when faults end; shadow memory need not know of it.
 *
 * Without memory it gives up, and its ranges are ordinary memory from then on.
 */
import { errno, isErr } from '../base/errno.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE } from '../base/units.ts';
import { UFFD_PAGEFAULT_FLAG_WP } from '../mm/fs-userfaultfd.ts';
import type { UffdMsg, UserfaultfdCtx } from '../mm/fs-userfaultfd.ts';
import {
  userfaultfdCreate,
  userfaultfdRelease,
  userfaultfdUnregister,
  userfaultfdWriteprotect,
  userfaultfdZeropage,
} from '../mm/userfaultfd-register.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import { violated } from './violation.ts';

/** What a monitor needs of the world around it. */
export interface MonitorWorld {
  fail(error: unknown): void;
}

export class Monitor {
  readonly ctx: UserfaultfdCtx;
  /** Answers in flight. */
  answering = 0;
  private readonly world: MonitorWorld;

  constructor(world: MonitorWorld, mm: MmStruct) {
    const ctx = userfaultfdCreate(mm, 0);
    if (typeof ctx === 'number') violated(`no userfaultfd: ${ctx}`);
    this.ctx = ctx;
    this.world = world;
  }

  /** Begins to answer the oldest fault, if there is one. */
  answerOne(): void {
    const msg = this.ctx.read();
    if (msg === null) return;
    this.answering++;
    this.answer(msg).then(
      () => {
        this.answering--;
      },
      (error: unknown) => this.world.fail(error),
    );
  }

  /** Closes the file. May wait. */
  close(): MaybePromise<void> {
    return userfaultfdRelease(this.ctx);
  }

  /** A registration that ended after the file was closed is taken back. */
  async dropIfClosed(start: number, length: number): Promise<void> {
    if (!this.ctx.isClosed) return;
    await userfaultfdUnregister(this.ctx, start, length);
    this.ctx.wakeAll();
  }

  private async answer(msg: UffdMsg): Promise<void> {
    const { ctx } = this;
    const { address } = msg;
    let status = await ((msg.flags & UFFD_PAGEFAULT_FLAG_WP) === 0
      ? userfaultfdZeropage(ctx, address, PAGE_SIZE, 0)
      : userfaultfdWriteprotect(ctx, address, PAGE_SIZE, 0));
    // The marker of a protection that came before the page is in the way: it goes, and the access
    // comes again.
    if (status === errno.EEXIST) status = await userfaultfdWriteprotect(ctx, address, PAGE_SIZE, 0);
    if (status === errno.ENOMEM) await this.close();
    // The page came by itself, or the range went: the access finds out what there is now.
    else if (isErr(status)) ctx.wake(address, PAGE_SIZE);
  }
}
