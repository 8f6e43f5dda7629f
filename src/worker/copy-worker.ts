/** Entry of a copy thread in browsers. */
import { runHelper } from './copy-crew.ts';
import type { CopyBoot } from './copy-crew.ts';

addEventListener(
  'message',
  ({ data }: MessageEvent<CopyBoot>) => {
    postMessage('ready');
    runHelper(data);
  },
  { once: true },
);
