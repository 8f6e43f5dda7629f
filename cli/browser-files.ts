/*
 * Finds installed browsers by looking for their files.
 *
 * The browser driver can find some of them itself, but each launch of a missing one leaves two
 * folders in the temporary folder; so existence is checked first and a launch is only tried with a
 * path.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface InstalledBrowser {
  readonly name: string;
  readonly path: string;
}

/** Chrome and Edge where their installers put them, then what the PATH has, each file once. */
export function findInstalled(): InstalledBrowser[] {
  const known = [
    ...usualPlaces('Google Chrome', CHROME_PLACES),
    ...usualPlaces('Microsoft Edge', EDGE_PLACES),
  ];
  const names = ['google-chrome', 'chrome', 'microsoft-edge', 'chromium', 'chromium-browser'];
  const onPath = names.flatMap((name) => searchPath(name).map((path) => ({ name, path })));
  return [...known, ...onPath].filter(
    (browser, i, all) => all.findIndex((other) => other.path === browser.path) === i,
  );
}

/** Firefox, the release first and Debian's extended support release after it. */
export function findFirefox(): InstalledBrowser[] {
  const places = usualPlaces('Firefox', FIREFOX_PLACES);
  const names = ['firefox', 'firefox-esr'];
  return [...places, ...names.flatMap((name) => searchPath(name).map((path) => ({ name, path })))];
}

/** Whether `path` is a file that this user may run. */
export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const CHROME_PLACES: Readonly<Record<string, string[]>> = {
  linux: ['/opt/google/chrome/chrome'],
  darwin: ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'],
  win32: [String.raw`Google\Chrome\Application\chrome.exe`],
};

const EDGE_PLACES: Readonly<Record<string, string[]>> = {
  linux: ['/opt/microsoft/msedge/msedge'],
  darwin: ['/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge'],
  win32: [String.raw`Microsoft\Edge\Application\msedge.exe`],
};

const FIREFOX_PLACES: Readonly<Record<string, string[]>> = {
  darwin: ['/Applications/Firefox.app/Contents/MacOS/firefox'],
  win32: [String.raw`Mozilla Firefox\firefox.exe`],
};

/** On Windows a program may be under any of three folders that only the environment names. */
function usualPlaces(name: string, table: Readonly<Record<string, string[]>>): InstalledBrowser[] {
  const names = ['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'];
  const roots = names.map((variable) => process.env[variable]).filter((root) => root !== undefined);
  const prefixes = process.platform === 'win32' ? roots : [''];
  return (table[process.platform] ?? [])
    .flatMap((place) => prefixes.map((prefix) => join(prefix, place)))
    .filter(isProgram)
    .map((path) => ({ name, path }));
}

function searchPath(name: string): string[] {
  const file = process.platform === 'win32' ? `${name}.exe` : name;
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders
    .map((folder) => join(folder, file))
    .filter(isProgram)
    .slice(0, 1);
}
