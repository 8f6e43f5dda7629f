/*
 * Finds, probes and starts the browser that a command works in.
 *
 * Order of `auto`: Chrome, Edge and Chromium as installed, each only if a probe page gets a real
 * GPU in it; then the bundled Chromium, with the machine's GPU where there is one, else on
 * SwiftShader. Naming a browser skips the search and takes whatever adapter it has. The environment
 * variable WEBHMM_BROWSER stands in for an option that is not given.
 *
 * Promises. The adapter that the caller gets to see is what the page's own requestAdapter()
 * answered, as launch arguments that ask for hardware may still end in software. Closing is
 * registered with cleanup.ts, so no browser outlives the command. Nothing waits for a page alone:
 * watchPage() ends a wait as soon as the page throws, crashes or loses its browser.
 *
 * Leaves out: the sandbox (off, as the browser only opens our own pages from 127.0.0.1), and
 * Safari.
 */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import type { BrowserContextOptions, LaunchOptions, Page } from 'playwright';
import { describeAdapter, isSoftware } from './adapter.ts';
import type { AdapterReport } from './adapter.ts';
import { UsageError } from './args.ts';
import { findFirefox, findInstalled, isProgram } from './browser-files.ts';
import { launchFirefox } from './browser-firefox.ts';
import { guardPage, pageError, watchPage } from './browser-page.ts';
import type { BrowserPage } from './browser-page.ts';
import {
  chromiumEnv,
  environmentWith,
  HARDWARE_ARGS,
  ignoredDefaultArgs,
  NO_BUNDLE_REASON,
  SOFTWARE_ARGS,
  unpackChromium,
} from './chromium-bundle.ts';
import { onExit, temporaryFolder, unlessStopped } from './cleanup.ts';
import { servePage } from './serve-page.ts';

/**
 * The words that `--browser` takes besides a path. `node` is no browser; commands handle it first.
 */
export const BROWSER_WORDS = ['auto', 'bundled', 'chrome', 'firefox', 'node'] as const;

export interface BrowserRequest {
  /**
   * auto, bundled, chrome, firefox, or the path of a browser. Default: WEBHMM_BROWSER, then auto.
   */
  readonly choice?: string | undefined;
  /** Which adapter to ask for where the machine has several. */
  readonly power?: 'high' | 'low' | undefined;
  /** Called with lines for people: what is being tried and why it was passed over. */
  readonly say: (line: string) => void;
}

export interface OpenBrowser {
  /** Name and version, "bundled Chromium 147.0.7727.0". */
  readonly name: string;
  /** The adapter that pages get. */
  readonly adapter: AdapterReport;
  /** Whether Chromium keeps shared memory in /tmp, which makes transfers slower. */
  readonly sharedMemoryInTmp: boolean;
  newPage(): Promise<BrowserPage>;
  /** A page with all that Playwright can do; only Chromium has it (UsageError in Firefox). */
  newChromiumPage(options: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
}

/** What both kinds of browser have in common. */
interface RunningBrowser {
  version(): string;
  newPage(): Promise<BrowserPage>;
  newChromiumPage(options: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
}

/** One thing to try. */
interface Candidate {
  readonly name: string;
  /** Starts it with this folder for its temporary files. */
  readonly launch: (folder: string) => Promise<RunningBrowser>;
  /** Whether it is only taken with a real GPU. */
  readonly hardwareOnly: boolean;
  /** Whether it is Chromium with its shared memory in /tmp. */
  readonly sharedMemoryInTmp: boolean;
}

const LAUNCH_MS = 60_000;

/** Says what is wrong with a value of `--browser`, for the option table of a command. */
export function refuseBrowser(value: string): string | undefined {
  if ((BROWSER_WORDS as readonly string[]).includes(value)) {
    return undefined;
  }
  const remedy = `one of ${BROWSER_WORDS.join(', ')}, or the path of a browser`;
  if (!existsSync(value)) {
    return `takes ${remedy}; there is no file '${value}'`;
  }
  return isProgram(value) ? undefined : `takes ${remedy}; '${value}' is not a program`;
}

/**
 * Starts a browser with a WebGPU adapter.
 *
 * @returns the running browser; it is closed when the command ends, or earlier by close()
 * @throws UsageError, one line with the remedy, where no browser with an adapter can be had
 */
export async function openBrowser(request: BrowserRequest): Promise<OpenBrowser> {
  const choice = request.choice ?? process.env['WEBHMM_BROWSER'] ?? 'auto';
  const refusal = refuseBrowser(choice);
  if (refusal !== undefined) {
    throw new UsageError(`--browser ${refusal}`);
  }
  const reasons: string[] = [];
  for (const candidate of await listCandidates(choice, request.say)) {
    const result = await tryCandidate(candidate, request.power);
    await unlessStopped();
    if (typeof result !== 'string') {
      request.say(`browser: ${result.name}, adapter: ${describeAdapter(result.adapter)}`);
      return result;
    }
    request.say(`browser: passed over ${candidate.name}: ${result}`);
    reasons.push(`${candidate.name}: ${result}`);
  }
  const tried = reasons.length === 0 ? 'none is installed' : reasons.join('; ');
  throw new UsageError(
    `no browser with WebGPU for --browser ${choice} (${tried}). ${remedyFor(choice)}`,
  );
}

async function listCandidates(choice: string, say: (line: string) => void): Promise<Candidate[]> {
  switch (choice) {
    case 'node':
      throw new UsageError('--browser node is not a browser; this command needs one');
    case 'firefox':
      return findFirefox().map((found) => firefoxAt(found.name, found.path));
    case 'chrome':
      return findInstalled().map((found) => chromiumAt(found.name, found.path, false));
    case 'bundled':
      return bundled(say);
    case 'auto': {
      const own = await bundled(say);
      const installed = findInstalled();
      return [...installed.map(({ name, path }) => chromiumAt(name, path, own.length > 0)), ...own];
    }
    default:
      return /firefox/i.test(basename(choice))
        ? [firefoxAt(choice, choice)]
        : [chromiumAt(choice, choice, false)];
  }
}

function chromiumAt(name: string, executablePath: string, hardwareOnly: boolean): Candidate {
  return hardwareCandidate(name, { executablePath, env: environmentWith({}) }, hardwareOnly);
}

function firefoxAt(name: string, executablePath: string): Candidate {
  const launch = async (folder: string): Promise<RunningBrowser> => {
    const browser = await launchFirefox(executablePath, LAUNCH_MS, folder);
    const newChromiumPage = (): never => {
      throw new UsageError('Firefox can not do this: use --browser bundled');
    };
    return { ...browser, newChromiumPage };
  };
  return { name, launch, hardwareOnly: false, sharedMemoryInTmp: false };
}

/** The bundled Chromium: first on a GPU if the machine shows one, then on SwiftShader. */
async function bundled(say: (line: string) => void): Promise<Candidate[]> {
  const bundle = await unpackChromium(say);
  if (bundle === undefined) {
    return [];
  }
  const common = { executablePath: bundle.executable, env: environmentWith(chromiumEnv(bundle)) };
  const name = 'bundled Chromium';
  const software = candidateOf(name, { ...common, args: [...SOFTWARE_ARGS] }, [], false);
  const hasGpu = ['/dev/dri', '/dev/nvidiactl', '/dev/dxg'].some((path) => existsSync(path));
  const hardware = hardwareCandidate(`${name} on the GPU`, common, true);
  return hasGpu ? [hardware, software] : [software];
}

function hardwareCandidate(name: string, options: LaunchOptions, only: boolean): Candidate {
  const withArgs = { ...options, args: [...HARDWARE_ARGS] };
  return candidateOf(name, withArgs, ['--enable-unsafe-swiftshader'], only);
}

/** A Chromium with its launch options; `left` are default arguments to leave out. */
function candidateOf(
  name: string,
  options: LaunchOptions,
  left: readonly string[],
  hardwareOnly: boolean,
): Candidate {
  const shm = ignoredDefaultArgs();
  const ignoreDefaultArgs = [...shm, ...left];
  return {
    name,
    launch: (folder) => {
      const env = { ...options.env, TMPDIR: folder };
      return launchChromium({ ...options, env, ignoreDefaultArgs });
    },
    hardwareOnly,
    sharedMemoryInTmp: shm.length === 0,
  };
}

async function launchChromium(options: LaunchOptions): Promise<RunningBrowser> {
  // Loading it takes longer than many a command that needs no browser.
  const { chromium } = await import('playwright');
  const browser = await chromium.launch({
    ...options,
    timeout: LAUNCH_MS,
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
  const newChromiumPage = async (context: BrowserContextOptions): Promise<Page> => {
    const page = await browser.newPage(context);
    const fail = guardPage(page);
    page.on('pageerror', (error) => fail(pageError(error)));
    page.on('crash', () => fail(new Error('the page crashed')));
    page.on('close', () => fail(new Error('the page was closed')));
    browser.on('disconnected', () => fail(new Error('the browser went away')));
    return page;
  };
  return {
    version: () => browser.version(),
    newPage: () => newChromiumPage({ locale: 'en-US' }),
    newChromiumPage,
    close: () => browser.close(),
  };
}

/** Launches a candidate and asks it for an adapter. Gives the reason where it does not do. */
async function tryCandidate(
  candidate: Candidate,
  power: 'high' | 'low' | undefined,
): Promise<OpenBrowser | string> {
  // A browser that is ended in a hurry leaves its shared memory behind.
  const folder = await temporaryFolder('webhmm-browser-');
  let browser: RunningBrowser;
  try {
    browser = await candidate.launch(folder.path);
  } catch (error) {
    await folder.remove();
    return `it does not start (${firstLine(error)})`;
  }
  const closeBrowser = onExit(() => browser.close());
  const close = async (): Promise<void> => {
    await closeBrowser();
    await folder.remove();
  };
  try {
    const adapter = await probe(browser, power);
    if (adapter !== null && !(candidate.hardwareOnly && isSoftware(adapter))) {
      const { sharedMemoryInTmp } = candidate;
      const name = `${candidate.name} ${browser.version()}`;
      return { ...browser, name, adapter, sharedMemoryInTmp, close };
    }
    await close();
    return adapter === null ? 'it has no WebGPU adapter' : `only ${describeAdapter(adapter)}`;
  } catch (error) {
    await close();
    return `its probe page failed (${firstLine(error)})`;
  }
}

/** Asks for an adapter on a page from 127.0.0.1, as WebGPU is only there in a secure context. */
async function probe(
  browser: RunningBrowser,
  power: 'high' | 'low' | undefined,
): Promise<AdapterReport | null> {
  const server = await servePage('<!doctype html><title>probe</title>');
  const page = await browser.newPage();
  try {
    await page.goto(server.url);
    const ask = page.evaluate(async (preference) => {
      const options = preference === undefined ? {} : { powerPreference: preference };
      const info = (await navigator.gpu?.requestAdapter(options))?.info;
      if (info === undefined) {
        return null;
      }
      const { vendor, architecture, device, description, isFallbackAdapter } = info;
      return { vendor, architecture, device, description, isFallbackAdapter };
    }, powerPreference(power));
    return await watchPage(page).race(ask);
  } finally {
    await page.close();
    await server.close();
  }
}

function powerPreference(power: 'high' | 'low' | undefined): GPUPowerPreference | undefined {
  if (power === undefined) {
    return undefined;
  }
  return power === 'high' ? 'high-performance' : 'low-power';
}

function remedyFor(choice: string): string {
  switch (choice) {
    case 'firefox':
      return 'Install Firefox 141 or later, or use --browser auto';
    case 'chrome':
      return 'Install Chrome or Edge, or use --browser auto';
    case 'auto':
    case 'bundled':
      return `Install Chrome and a graphics driver, or use --browser node (${NO_BUNDLE_REASON})`;
    default:
      return 'Use --browser auto';
  }
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0] ?? text;
}
