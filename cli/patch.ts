/*
 * Applies a unified diff to a folder of text files.
 *
 * A machine with nothing but Node has neither git nor patch, and the canaries have to run there
 * too. This reads what `git diff` and `diff -u` print: changed, new and deleted text files. A hunk
 * may have moved by any number of lines, but its context must be found exactly; where it is found
 * more than once the place nearest to the hunk's line number is taken. Renames and binary patches
 * are refused.
 *
 * Our own code; format from POSIX diff, "Diff -u Output Format".
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';

interface Hunk {
  /** First line in the old file, from 1. */
  readonly start: number;
  readonly oldLines: string[];
  readonly newLines: string[];
}

interface FilePatch {
  /** Path in the folder, or undefined for /dev/null. */
  readonly source: string | undefined;
  readonly target: string | undefined;
  readonly hunks: Hunk[];
}

/** A patch that is damaged or does not fit the files. */
export class PatchError extends Error {
  override readonly name = 'PatchError';
}

/**
 * Applies a patch. Nothing is written unless all of it fits.
 *
 * @param text the patch; lines before the first `---` are ignored
 * @param root the folder that the paths in the patch are relative to, after their `a/` and `b/`
 * @returns the paths of the files that were changed
 * @throws PatchError where a hunk does not fit or the patch can't be read
 */
export function applyPatch(text: string, root: string): string[] {
  const files = parsePatch(text);
  const results = files.map((file) => ({ file, text: patchFile(file, root) }));
  for (const { file, text: content } of results) {
    const path = join(root, file.target ?? file.source ?? '');
    if (content === undefined) {
      rmSync(path);
    } else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }
  return files.map((file) => file.target ?? file.source ?? '');
}

/** The files that a patch changes, and whether each is there before and after it. */
export function patchedFiles(text: string): { readonly path: string; readonly isKept: boolean }[] {
  return parsePatch(text).map(({ source, target }) => ({
    path: target ?? source ?? '',
    isKept: source !== undefined && source === target,
  }));
}

function parsePatch(text: string): FilePatch[] {
  if (/^(rename from|GIT binary patch|Binary files )/m.test(text)) {
    throw new PatchError('renames and binary patches are not read');
  }
  const lines = text.split('\n');
  const files: FilePatch[] = [];
  let at = 0;
  while (at < lines.length) {
    const isHeader = lines[at]!.startsWith('--- ') && lines[at + 1]?.startsWith('+++ ') === true;
    if (!isHeader) {
      at++;
      continue;
    }
    const source = pathOf(lines[at]!.slice(4), 'a/');
    const file: FilePatch = { source, target: pathOf(lines[at + 1]!.slice(4), 'b/'), hunks: [] };
    at += 2;
    while (lines[at]?.startsWith('@@ ') === true) {
      at = parseHunk(lines, at, file.hunks);
    }
    if (file.hunks.length === 0) {
      throw new PatchError(`${file.target ?? file.source ?? '?'} has no hunks`);
    }
    files.push(file);
  }
  if (files.length === 0) {
    throw new PatchError('no file is changed: it has no --- and +++ lines');
  }
  return files;
}

/** Reads one hunk, puts it into `hunks`, and answers where the next line is. */
function parseHunk(lines: readonly string[], header: number, hunks: Hunk[]): number {
  const match = /^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(lines[header]!);
  if (match === null) {
    throw new PatchError(`line ${header + 1} is no hunk header: ${lines[header]!}`);
  }
  let oldLeft = Number(match[2] ?? 1);
  let newLeft = Number(match[3] ?? 1);
  const hunk: Hunk = { start: Number(match[1]), oldLines: [], newLines: [] };
  let at = header + 1;
  while (oldLeft > 0 || newLeft > 0 || lines[at]?.startsWith('\\') === true) {
    const line = at < lines.length - 1 ? lines[at]! : '?';
    // Some editors strip the blank of an empty context line.
    const kind = line === '' ? ' ' : line[0]!;
    if (!' -+\\'.includes(kind)) {
      throw new PatchError(`the hunk at line ${header + 1} is cut short`);
    }
    if (kind === ' ' || kind === '-') {
      hunk.oldLines.push(line.slice(1));
      oldLeft--;
    }
    if (kind === ' ' || kind === '+') {
      hunk.newLines.push(line.slice(1));
      newLeft--;
    }
    at++;
  }
  hunks.push(hunk);
  return at;
}

/** The new content of a file, or undefined if the patch deletes it. */
function patchFile(file: FilePatch, root: string): string | undefined {
  const name = file.source ?? file.target ?? '';
  const path = join(root, name);
  if (file.source === undefined) {
    if (existsSync(path)) {
      throw new PatchError(`${name} is new in the patch but is there already`);
    }
    return `${file.hunks.flatMap((hunk) => hunk.newLines).join('\n')}\n`;
  }
  if (!existsSync(path)) {
    throw new PatchError(`${name} does not exist`);
  }
  const lines = readFileSync(path, 'utf8').split('\n');
  let moved = 0;
  let from = 0;
  for (const hunk of file.hunks) {
    const guess = hunk.start - 1 + moved;
    const at = findLines(lines, hunk.oldLines, guess, from);
    if (at < 0) {
      throw new PatchError(`${name}: the hunk at its line ${hunk.start} does not fit`);
    }
    lines.splice(at, hunk.oldLines.length, ...hunk.newLines);
    moved = at - (hunk.start - 1) + hunk.newLines.length - hunk.oldLines.length;
    from = at + hunk.newLines.length;
  }
  return file.target === undefined ? undefined : lines.join('\n');
}

/** Where `wanted` stands in `lines` at or after `from`, nearest to `guess`; -1 if nowhere. */
function findLines(
  lines: readonly string[],
  wanted: readonly string[],
  guess: number,
  from: number,
): number {
  let best = -1;
  for (let at = from; at + wanted.length <= lines.length; at++) {
    const fits = wanted.every((line, i) => lines[at + i] === line);
    if (fits && (best < 0 || Math.abs(at - guess) < Math.abs(best - guess))) {
      best = at;
    }
  }
  return best;
}

/**
 * A path from a header line, without its prefix and what follows a tab; undefined for /dev/null.
 */
function pathOf(field: string, prefix: string): string | undefined {
  const path = field.split('\t')[0]!.trim();
  if (path === '/dev/null') {
    return undefined;
  }
  const relative = normalize(path.startsWith(prefix) ? path.slice(prefix.length) : path);
  if (relative.startsWith('..') || relative.startsWith(sep)) {
    throw new PatchError(`'${path}' leads out of the folder`);
  }
  return relative;
}
