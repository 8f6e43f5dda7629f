/* The page of `npm run exec -- --engine chromium`: exec-browser.ts calls what it leaves here. */
import { Machine } from '../src/index.ts';
import type { ExecWindow } from './exec-browser.ts';
import { execOnMachine } from './exec-run.ts';

const page = globalThis as unknown as ExecWindow;

page.execRun = (request) =>
  execOnMachine(
    () => Machine.create(request.options),
    request,
    (event) => void page.execTell(event),
  );
