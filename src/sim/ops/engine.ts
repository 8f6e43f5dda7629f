/** What the devices' copy engines do by themselves: work, fail, hang, vanish. */
import type { Dice } from '../dice.ts';
import type { Operation } from '../operation.ts';
import type { SimEngine } from '../sim-engine.ts';
import type { World } from '../world.ts';

/** A device that has work to do. */
function busyEngine(world: World, dice: Dice): SimEngine | null {
  const { devices } = world;
  const from = dice.below(devices.length);
  for (let i = 0; i < devices.length; i++) {
    const { engine } = devices[(from + i) % devices.length]!;
    if (engine.waiting > 0) return engine;
  }
  return null;
}

/** See the file header. */
export const ENGINE_OPERATIONS: readonly Operation[] = [
  {
    name: 'engine',
    weight: 30,
    isVital: true,
    start: (world, dice) => busyEngine(world, dice)?.step(dice),
  },
  {
    name: 'engineFail',
    weight: 0.5,
    isFault: true,
    start: (world, dice) => {
      if (busyEngine(world, dice)?.failRow(dice) === true) world.log?.('a copy fails');
    },
  },
  {
    name: 'engineHang',
    weight: 0.2,
    isFault: true,
    start: (world, dice) => busyEngine(world, dice)?.hang(dice),
  },
  {
    name: 'engineLose',
    weight: 0.01,
    isFault: true,
    start: (world, dice) => {
      dice.pick(world.devices).engine.lose();
      world.deviceLost = true;
      world.copyFailed();
      world.log?.('a device is lost');
    },
  },
];
