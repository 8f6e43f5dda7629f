/*
 * Reads the JS heap of a page's worker, which no web page can, over the protocol of Chromium's
 * developer tools.
 *
 * Playwright gives a session with a page but none with its workers. So the page's session attaches
 * to them by itself and passes messages on, in the protocol's older way, without flat sessions.
 *
 * Leaves out: pages with more than one worker; browsers other than Chromium.
 */
import type { CDPSession, Page } from 'playwright';
import type { BrowserPage } from './browser-page.ts';

interface Reply {
  readonly id?: number;
  readonly result?: { readonly usedSize?: number };
}

/**
 * Prepares to ask about the heap of the worker that the page will start.
 *
 * @returns gives bytes in use, garbage included; null where there is no worker or it can't be asked
 */
export async function workerHeap(page: BrowserPage): Promise<() => Promise<number | null>> {
  if (!isChromiumPage(page)) return () => Promise.resolve(null);
  const session = await page.context().newCDPSession(page);
  const waiting = new Map<number, (reply: Reply) => void>();
  let worker = '';
  let asked = 0;
  session.on('Target.attachedToTarget', ({ sessionId, targetInfo }) => {
    if (targetInfo.type === 'worker') worker = sessionId;
  });
  session.on('Target.receivedMessageFromTarget', ({ message }) => {
    const reply = JSON.parse(message) as Reply;
    waiting.get(reply.id ?? -1)?.(reply);
  });
  const options = { autoAttach: true, waitForDebuggerOnStart: false, flatten: false };
  await session.send('Target.setAutoAttach', options);
  const call = (method: string): Promise<Reply> => {
    asked += 1;
    const message = JSON.stringify({ id: asked, method });
    return ask(session, waiting, asked, { message, sessionId: worker });
  };
  return async () => {
    if (worker === '') return null;
    const { result } = await call('Runtime.getHeapUsage');
    return result?.usedSize ?? null;
  };
}

/** Whether Playwright drives the page. */
function isChromiumPage(page: BrowserPage): page is Page {
  return 'context' in page;
}

async function ask(
  session: CDPSession,
  waiting: Map<number, (reply: Reply) => void>,
  id: number,
  request: { readonly message: string; readonly sessionId: string },
): Promise<Reply> {
  const replied = new Promise<Reply>((resolve) => {
    waiting.set(id, resolve);
  });
  try {
    await session.send('Target.sendMessageToTarget', request);
    return await replied;
  } finally {
    waiting.delete(id);
  }
}
