/*
 * Finds what the test projects `dawn` and `chromium` can run on here.
 *
 * On Linux x64 both run on the bundled SwiftShader, so their results do not depend on the machine.
 * WEBHMM_GPU=hardware makes both use the machine's own adapter instead. On other platforms Dawn
 * uses the platform's own graphics API and the browser is an installed Chrome.
 *
 * A project that can't run is left out with its reason printed; with CI or REQUIRE_GPU set that is
 * a failure instead, so that a machine without WebGPU never passes for one with it.
 */
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import type { AdapterReport } from './adapter.ts';
import { findInstalled } from './browser-files.ts';
import {
  chromiumEnv,
  dawnEnv,
  environmentWith,
  HARDWARE_ARGS,
  ignoredDefaultArgs,
  NO_BUNDLE_REASON,
  SOFTWARE_ARGS,
  unpackChromium,
} from './chromium-bundle.ts';
import type { ChromiumBundle } from './chromium-bundle.ts';

/** How to launch the browser of the project `chromium`; a subset of the driver's launch options. */
export interface ChromiumLaunch {
  readonly executablePath: string;
  readonly args: string[];
  readonly ignoreDefaultArgs: string[];
  readonly env: Record<string, string>;
}

export interface TestPlatform {
  /** Environment for the processes of the project `dawn`. */
  readonly dawnEnv: Record<string, string>;
  /** Dawn's adapter, or why there is none. */
  readonly dawn: AdapterReport | string;
  /** The browser, or why there is none. */
  readonly chromium: ChromiumLaunch | string;
  /** Whether a missing adapter is a failure. */
  readonly gpuRequired: boolean;
}

/** Whether the environment asks for a failure where there is no adapter. */
export function isGpuRequired(): boolean {
  return isSet(process.env['REQUIRE_GPU']) || isSet(process.env['CI']);
}

/**
 * Looks at the machine, unpacking the bundled browser first if that has not been done.
 *
 * @param say called with a line of text before anything slow
 * @throws Error with the reason where an adapter or browser is missing and one is required
 */
export async function findTestPlatform(say: (line: string) => void): Promise<TestPlatform> {
  const bundle = await unpackChromium(say);
  const hardware = process.env['WEBHMM_GPU'] === 'hardware';
  const env = bundle !== undefined && !hardware ? dawnEnv(bundle) : {};
  const platform: TestPlatform = {
    dawnEnv: env,
    dawn: await probeDawn(env),
    chromium: chooseChromium(bundle, hardware),
    gpuRequired: isGpuRequired(),
  };
  for (const [name, state] of Object.entries({
    dawn: platform.dawn,
    chromium: platform.chromium,
  })) {
    if (typeof state === 'string' && platform.gpuRequired) {
      throw new Error(`the test project ${name} can't run, and CI or REQUIRE_GPU is set: ${state}`);
    }
  }
  return platform;
}

async function probeDawn(env: Record<string, string>): Promise<AdapterReport | string> {
  const probe = resolve(import.meta.dirname, 'probe-dawn.mjs');
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [probe], {
      env: environmentWith(env),
      timeout: 60_000,
    });
    const report = JSON.parse(stdout) as AdapterReport | null;
    return report ?? `Dawn found no adapter. ${stderr.trim().split('\n')[0] ?? ''}`.trim();
  } catch (error) {
    return `Dawn for Node does not start: ${String(error).split('\n')[0] ?? ''}`;
  }
}

function chooseChromium(
  bundle: ChromiumBundle | undefined,
  hardware: boolean,
): ChromiumLaunch | string {
  const args = [...(hardware || bundle === undefined ? HARDWARE_ARGS : SOFTWARE_ARGS)];
  const ignoreDefaultArgs = ignoredDefaultArgs();
  if (bundle !== undefined) {
    const env = environmentWith(chromiumEnv(bundle));
    return { executablePath: bundle.executable, args, ignoreDefaultArgs, env };
  }
  const installed = findInstalled()[0];
  if (installed === undefined) {
    return `${NO_BUNDLE_REASON}, but none was found: install Chrome`;
  }
  return { executablePath: installed.path, args, ignoreDefaultArgs, env: environmentWith({}) };
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && !['', '0', 'false'].includes(value);
}
