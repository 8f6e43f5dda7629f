/*
 * A command for browser.test.ts: it opens a browser, says so, and waits to be stopped.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { openBrowser } from '../../cli/browser.ts';
import { runCommand } from '../../cli/cleanup.ts';

await runCommand('stop-command', async () => {
  await openBrowser({ choice: 'bundled', say: () => {} });
  process.stdout.write('open\n');
  await delay(60_000);
  return 0;
});
