/*
 * A command for stop.test.ts: its body waits for something that its clean-up takes away, and then
 * fails, as a body does whose browser is closed. With FAIL set it fails by itself.
 */
import { onExit, runCommand, temporaryFolder } from '../../cli/cleanup.ts';

await runCommand('stop-failing', async () => {
  const folder = await temporaryFolder('webhmm-stop-');
  if (process.env['FAIL'] !== undefined) {
    process.stdout.write(`${folder.path}\n`);
    throw new Error('failed by itself');
  }
  return new Promise<number>((_, reject) => {
    const timer = setInterval(() => {}, 1000);
    onExit(() => {
      clearInterval(timer);
      reject(new Error('taken away'));
    });
    process.stdout.write(`${folder.path}\n`);
  });
});
