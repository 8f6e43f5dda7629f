/*
 * A launch under a policy: the loop of launch.ts with a fault service behind it.
 */
import { launchKernel } from '../engine/vm/launch.ts';
import type { LaunchReport, LaunchRequest } from '../engine/vm/launch.ts';
import type { VmProgram } from '../engine/vm/vm-engine.ts';
import type { ServicePager } from './service-pager.ts';

/** Passes without progress after which a launch is given up: policies may throttle for a while. */
const PATIENCE = 2000;

/**
 * Runs a launch whose faults a pager serves.
 *
 * @param request of the launch; its pager is this one
 * @returns how the launch ended
 * @throws PolicyError of the policy
 *
 * Context: waits. Source: our own.
 */
export async function launchUnder(
  pager: ServicePager,
  program: VmProgram,
  request: Omit<LaunchRequest, 'pager' | 'everyPass'>,
): Promise<LaunchReport> {
  await pager.begin();
  try {
    return await launchKernel(program, {
      patience: PATIENCE,
      ...request,
      everyPass: true,
      around: pager.aperture,
      pager: (batch) => pager.serve(batch),
      onSubmitted: () => pager.passSubmitted(),
    });
  } finally {
    await pager.end();
  }
}
