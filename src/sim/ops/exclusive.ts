/** Exclusive access of a device to pages that stay in RAM: it changes nothing that is in them. */
import { errno } from '../../base/errno.ts';
import { HMM_DMIRROR_CHECK_EXCLUSIVE, HMM_DMIRROR_EXCLUSIVE } from '../../driver/dmirror.ts';
import type { Dice } from '../dice.ts';
import { checkAnswer, deviceMay } from '../operation.ts';
import type { Operation } from '../operation.ts';
import type { World } from '../world.ts';
import { closedOrPinned, command, pickDeviceRange } from './device.ts';

const DENIALS = [errno.EFAULT, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL];

/** ENOENT: somebody took a page back before the command looked. Shared memory is not for it. */
function startExclusive(world: World, dice: Dice): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  world.begin('exclusive', async () => {
    const status = await command(HMM_DMIRROR_EXCLUSIVE, target, 0);
    if (status === errno.ENOENT || closedOrPinned(world, target, false, status)) return;
    // Not for pages that a PMD entry maps.
    if (world.config.isHuge && status === errno.EOPNOTSUPP) return;
    const { states } = target.range;
    const may = states.every((state) => deviceMay(state, true) && !state.isShared);
    // A write-only page is good enough: makeDeviceExclusive asks for no more.
    const isOddRight = states.some((state) => !deviceMay(state, true) && state.prot > 0);
    if (status !== 0 || !isOddRight) {
      checkAnswer(world, 'exclusive', target.range, status, may, DENIALS);
    }
  });
}

function startCheckExclusive(world: World, dice: Dice): void {
  const target = pickDeviceRange(world, dice);
  if (target === null) return;
  world.begin('checkExclusive', async () => {
    const status = await command(HMM_DMIRROR_CHECK_EXCLUSIVE, target, 0);
    if (closedOrPinned(world, target, false, status)) return;
    world.expectStatus('checkExclusive', status, [0, errno.EPERM]);
  });
}

/** See the file header. */
export const EXCLUSIVE_OPERATIONS: readonly Operation[] = [
  { name: 'exclusive', weight: 1.5, isTask: true, start: startExclusive },
  { name: 'checkExclusive', weight: 0.2, isTask: true, start: startCheckExclusive },
];
