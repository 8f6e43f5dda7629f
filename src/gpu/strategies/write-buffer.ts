/*
 * Strategy `writeBuffer`: RAM to VRAM by `queue.writeBuffer`, a call a segment, straight from the
 * shared memory where the environment can; no staging of ours. It has no way back and none inside
 * VRAM.
 */
import { SEGMENT_UPLOAD } from '../flight-plan.ts';
import { runsStrategy } from './runs.ts';
import type { Recording, Strategy } from './strategy.ts';

export const writeBufferStrategy: Strategy = {
  name: 'writeBuffer',
  sortsRows: false,
  stagesUploads: false,
  movesInPlace: false,
  upload: writeUploads,
  ...(runsStrategy.clear === undefined ? {} : { clear: runsStrategy.clear }),
};

function writeUploads(recording: Recording): void {
  const { plan, resources } = recording;
  const { device, host, vram } = resources;
  for (let i = 0; i < plan.length; i++) {
    if (plan.kind[i] !== SEGMENT_UPLOAD) continue;
    const arena = vram.arenas[plan.arena[i]!]!;
    host.writeBuffer(device.queue, arena, plan.frame[i]!, plan.host[i]!, plan.pages[i]!);
    resources.stats.copyCommands += 1;
  }
}
